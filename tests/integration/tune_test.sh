#!/usr/bin/env bash
# What `axl tune` promises: the better rate wins, tests stay unseen, Ctrl-C says what is best so far.
# usage: tune_test.sh AXL
source "$(dirname "$0")/common.sh"

mkdir code final
for i in {1..12}; do sed "s/function/name_$i/" text.py >"code/$i.py"; done
tune=(tune --config tiny.yaml --data code --holdout 0.2)

# The first two rates hardly move the weights.
# Steps rather than a time: a machine that is slow for a while would leave out a rung.
run 0 "${tune[@]}" --steps 40 --param train.lr=1e-7,1e-6,1e-2 --json --quiet
one_object out
python3 - out <<'PY' || fail "tune --json: $(cat out)"
import json, sys
told = json.load(open(sys.argv[1]))
assert told['set'] == ['train.lr=1e-2'], told
assert told['command'] == ('axl train --config tiny.yaml --data code --set train.lr=1e-2'
                           ' --holdout 0.2'), told
rungs = [[t for t in told['trials'] if t['rung'] == r] for r in (1, 2)]
assert [len(r) for r in rungs] == [3, 2] and len(told['trials']) == 5, told
assert [t['steps'] for t in told['trials']] == [40, 40, 40, 80, 80], told
PY
[[ ! -e checkpoints ]] || fail "tune leaves a run behind"

# A rate far beyond reason is the worst candidate, not an error.
run 0 "${tune[@]}" --steps 10 --set train.optimizer=sgd --set train.grad_clip=0 \
  --set train.weight_decay=10 --param train.lr=100,1e-3
grep -q 'diverged.*lr=100' out || fail "a divergence is not in the table: $(cat out)"
tail -n 1 out | grep -q -- '--set train.lr=1e-3' || fail "tune ends with: $(tail -n 1 out)"
run 1 "${tune[@]}" --steps 10 --set train.optimizer=sgd --set train.grad_clip=0 \
  --set train.weight_decay=10 --param train.lr=100,90
grep -q 'every candidate diverged' err || fail "only divergences: $(cat err)"

# The command that is printed works as it stands, wherever the files are.
mv code 'my code'
run 0 tune --config tiny.yaml --data 'my code' --holdout 0.2 --budget 12s --param train.lr=1e-3,1e-2 --quiet
tail -n 1 out | sed "s|^axl|\"\$axl\" |; s|\$| --quiet --out tuned|" >printed.sh
axl=$axl bash printed.sh >log 2>&1 || fail "the command fails: $(cat printed.sh log)"
mv 'my code' code

# Within a time, whatever rungs there is time for, trials of a rung are of equal length, and a further
# rung's are longer.
run 0 "${tune[@]}" --budget 20s --param train.lr=1e-7,1e-6,1e-2 --json --quiet
python3 - out <<'PY' || fail "tune --budget --json: $(cat out)"
import json, sys
trials = json.load(open(sys.argv[1]))['trials']
steps = {r: {t['steps'] for t in trials if t['rung'] == r} for r in {t['rung'] for t in trials}}
assert all(len(s) == 1 for s in steps.values()), steps
assert 2 not in steps or min(steps[2]) > max(steps[1]), steps
PY

refuses 2 'too short' "${tune[@]}" --budget 0.001s --quiet
refuses 2 'not for tuning' "${tune[@]}" --param train.seed=1,2 --quiet
refuses 2 'did you mean' "${tune[@]}" --param train.lrr=1,2 --quiet
refuses 2 'excludes' "${tune[@]}" --steps 5 --budget 5s --quiet
refuses 2 'a single candidate' "${tune[@]}" --param train.lr=1 --quiet
refuses 2 'single file' tune --config tiny.yaml --data text.py --holdout 0.2 --quiet
refuses 2 '--holdout' tune --config tiny.yaml --data code --quiet
refuses 1 'nothing is left' "${tune[@]}" --eval-data code --quiet

# A shell's background jobs ignore SIGINT, hence the detour.
python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$axl" "${tune[@]}" --budget 30s >out 2>err &
for _ in {1..300}; do
  ! grep -q ' steps ' err || break
  sleep 0.1
done
kill -INT $!
code=0
wait $! || code=$?
((code == 130)) || fail "Ctrl-C ends tune with $code: $(cat err)"
[[ $(head -n 1 out) == 'rung 1 '* ]] || fail "after Ctrl-C: $(cat out)"
grep -q '^best so far: train.lr=' out || fail "after Ctrl-C there is no best: $(cat out)"
finish
