#!/usr/bin/env bash
# What `axl plot` promises: pictures of one and several runs, and errors that name the place.
# usage: plot_test.sh AXL
source "$(dirname "$0")/common.sh"

cp text.py held_out.py
run 0 "${tiny[@]}" --out first --eval-data held_out.py --set train.eval_every=5
run 0 "${tiny[@]}" --out "it's_second"

# Refusals need no gnuplot.
refuses 2 'must end in .svg or .png' plot first -o plot.pdf
refuses 1 'there is no train_log.csv' plot .
refuses 1 'absent: ' plot absent
mkdir broken
printf 'step,bytes,seconds,loss,holdout_bpb\n1,2,3,x,\n' >broken/train_log.csv
refuses 1 'broken/train_log.csv:2: loss' plot broken
mkdir nothing_installed
! PATH=$work/nothing_installed "$axl" plot first >out 2>err || fail "plot succeeds without gnuplot"
[[ ! -s out && $(cat err) == *"apt install gnuplot-nox"* ]] || fail "without gnuplot: $(cat err)"

if ! command -v gnuplot >/dev/null; then
  skip "gnuplot is not installed (scripts/install_deps.sh --tests): nothing was drawn"
  finish
  exit
fi

run 0 plot first
[[ $(cat out) == plot.svg ]] || fail "plot does not say what it wrote: $(cat out)"
python3 -c 'import xml.dom.minidom as x; x.parse("plot.svg")' || fail "plot.svg is no XML"
grep -q 'Held-out score' plot.svg || fail "a run with scores has no panel for them"
run 0 plot first "it's_second" -o two.png --json
one_object out
python3 - out <<'PY' || fail "plot --json: $(cat out)"
import json, sys
told = json.load(open(sys.argv[1]))
assert told['out'] == 'two.png', told
assert [r['name'] for r in told['runs']] == ['first', "it's_second"], told
assert all(r['steps'] == 20 for r in told['runs']), told
PY
[[ $(head -c 4 two.png | tail -c 3) == PNG ]] || fail "two.png is no PNG"
run 0 plot first first -o same.svg
run 0 plot "it's_second" -o plain.svg
grep -q 'no held-out scores' err || fail "a run without scores gives no warning"
finish
