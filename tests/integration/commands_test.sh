#!/usr/bin/env bash
# What the commands promise on the command line: streams, seeds, stops, rows, JSON.
# usage: commands_test.sh AXL
source "$(dirname "$0")/common.sh"

run 0 "${tiny[@]}" --out tiny --json
one_object out
[[ ! -s err ]] || fail "--quiet says: $(cat err)"
for key in steps bytes seconds loss bytes_per_s out; do
  grep -q "\"$key\":" out || fail "train --json lacks $key: $(cat out)"
done
export AXL_MODEL=$work/tiny
[[ $(readlink -f checkpoints/latest) == "$work/tiny" ]] || fail "checkpoints/latest is not the run"

# generate
generate() { run 0 generate --quiet --max-new-tokens 40 "$@"; }
generate 'def f' && cp out first
[[ $(head -c 5 first) == 'def f' ]] || fail "the prompt is not printed first: $(cat first)"
generate 'def f' && { cmp out first || fail "the same seed gives another text"; }
generate --threads 2 'def f' && { cmp out first || fail "two threads give another text"; }
generate --seed 1 'def f' && { ! cmp -s out first || fail "another seed gives the same text"; }
printf 'def f' | "$axl" generate --quiet --max-new-tokens 40 - >out ||
  fail "generate - fails"
cmp out first || fail "a prompt from stdin gives another text"
generate --temperature 0 --seed 5 x && cp out greedy
generate --temperature 0 --seed 6 x && { cmp out greedy || fail "greedy depends on the seed"; }
generate '' || fail "an empty prompt fails"
printf '\xff\x00\x80' | "$axl" generate --max-new-tokens 2 --json - >out 2>err ||
  fail "bytes that are no UTF-8: $(cat err)"
one_object out
stop=$(tail -c +7 first | head -c 3)
if [[ ${#stop} == 3 ]]; then
  run 0 generate --max-new-tokens 40 --stop "$stop" --json 'def f'
  grep -q '"finish_reason": *"stop"' out || fail "--stop '$stop' does not stop: $(cat out)"
fi
long=$(head -c 500 text.py)
run 0 generate --max-new-tokens 5 "$long"
grep -q 'longer than the model.s context of 32' err || fail "a long prompt gives no warning"
[[ $(head -c 500 out) == "$long" ]] || fail "a long prompt is not printed whole"
run 0 generate --max-new-tokens 5 --json "$long"
one_object out

# A gap is filled by a model that was trained for it.
refuses 2 'was not trained to fill a gap' generate --suffix x 'def f'
run 0 "${tiny[@]}" --set train.fim_rate=0.5 --out filling
run 0 info --model filling
grep -Eq '^ *fill_in_middle +true' out || fail "info does not say that the model fills gaps"
fill() { run 0 generate --model filling --max-new-tokens 9 --suffix $'\n# end' "$@" 'def f'; }
fill && cp out filled
[[ $(head -c 5 filled) == 'def f' && $(tail -n 1 filled) == '# end' ]] ||
  fail "prompt and suffix are not around the filling: $(cat filled)"
fill --threads 2 && { cmp out filled || fail "two threads fill otherwise"; }
fill --json && one_object out
grep -q '"suffix"' out || fail "generate --json lacks the suffix: $(cat out)"
run 0 generate --model filling --max-new-tokens 30 --suffix "$long" 'def f'
grep -q 'at most 16 bytes are written' err || fail "no word of the shorter text: $(cat err)"
grep -q 'of the suffix were not read' err || fail "a long suffix gives no warning: $(cat err)"

# A reader that goes away ends the program, quietly or with one line, and soon.
set +e
timeout 60 "$axl" generate --max-new-tokens 100000000 x 2>err | head -c 1 >out
code=${PIPESTATUS[0]}
set -e
((code != 0 && code != 124)) || fail "a closed stdout ends generate with $code"
(($(grep -c '' err) <= 1)) || fail "a closed stdout says: $(cat err)"
! "$axl" generate --max-new-tokens 5 x >/dev/full 2>err || fail "a full stdout is no error"
grep -q '^axl: error' err || fail "a full stdout says: $(cat err)"

# eval-ppl
head -c 1000 text.py >score.py
run 0 eval-ppl --quiet score.py --per-byte rows.csv --json
one_object out
for key in files bytes nats bpb ppl bytes_per_s; do
  grep -q "\"$key\":" out || fail "eval-ppl --json lacks $key: $(cat out)"
done
python3 - out rows.csv score.py <<'PY' || fail "the rows of --per-byte do not add up"
import csv, json, math, sys
score = json.load(open(sys.argv[1]))
rows = list(csv.reader(open(sys.argv[2])))
text = open(sys.argv[3], 'rb').read()
assert rows[0] == ['offset', 'byte', 'nats'] and len(rows) == len(text) + 1, len(rows)
assert [int(r[0]) for r in rows[1:]] == list(range(len(text)))
assert bytes(int(r[1]) for r in rows[1:]) == text
mean = sum(float(r[2]) for r in rows[1:]) / len(text)
assert abs(mean - score['nats']) < 1e-5, (mean, score)
assert abs(score['bpb'] - score['nats'] / math.log(2)) < 1e-9
assert abs(score['ppl'] - math.exp(score['nats'])) < 1e-9 * score['ppl']
assert score['bytes'] == len(text) == score['files'][0]['bytes']
PY
run 0 eval-ppl --quiet score.py text.py
(($(grep -c '' out) == 3)) || fail "two files give: $(cat out)"

# --json everywhere
for command in 'info tiny.yaml' 'info' 'train --config tiny.yaml --data text.py --dry-run' \
  'bench train --config tiny.yaml --seconds 0.1' 'bench generate --seconds 0.1'; do
  # shellcheck disable=SC2086  # words of a command
  run 0 $command --json --quiet
  one_object out
done

# A new run moves an earlier one aside; nothing is overwritten.
cp tiny/model.safetensors kept
run 0 "${tiny[@]}" --out tiny --steps 3
cmp tiny.1/model.safetensors kept || fail "the earlier run is gone"
finish
