#!/usr/bin/env bash
# axl compress and decompress: any file comes back, on any number of threads, or is refused.
# usage: compress_test.sh AXL
source "$(dirname "$0")/common.sh"

run 0 "${tiny[@]}" --out tiny --steps 200 --set train.lr=1e-2 --set train.checkpoint_every=0
run 0 "${tiny[@]}" --out other --seed 5
export AXL_MODEL=$work/tiny

# Any bytes, written on one thread and read on two.
: >empty
printf '\xff' >one
head -c 5000 /dev/urandom >random
for file in empty one random text.py; do
  run 0 compress --quiet --threads 1 "$file" -o z.axlz
  [[ ! -s err ]] || fail "--quiet says: $(cat err)"
  run 0 decompress --quiet --threads 2 z.axlz -o back
  cmp "$file" back || fail "$file does not come back"
done
(($(stat -c %s z.axlz) < $(stat -c %s text.py))) || fail "text.py does not become smaller"

# Streams, and what --json promises.
"$axl" compress --quiet - -o stdin.axlz <text.py >out || fail "compress does not read stdin"
cmp stdin.axlz z.axlz || fail "stdin gives another file"
"$axl" decompress --quiet - -o back <z.axlz >out || fail "decompress does not read stdin"
cmp text.py back || fail "text.py does not come back from stdin"
for command in 'compress text.py -o z.axlz' 'decompress z.axlz -o back'; do
  # shellcheck disable=SC2086  # words of a command
  run 0 $command --json
  one_object out
  for key in file bytes compressed_bytes bpb seconds bytes_per_s out; do
    grep -q "\"$key\":" out || fail "$command --json lacks $key: $(cat out)"
  done
done
run 0 eval-ppl --json text.py
score=$(cat out)
run 0 compress --json text.py -o z.axlz
python3 - "$score" "$(cat out)" <<'PY' || fail "size and score do not agree"
import json, sys
score, size = map(json.loads, sys.argv[1:])
header = 40
assert abs(8 * (size['compressed_bytes'] - header) / size['bytes'] / score['bpb'] - 1) < 0.005
PY

# What is refused leaves nothing behind.
rm back
refuses 2 '--out' compress text.py
refuses 2 'input itself' compress text.py -o ./text.py
refuses 2 'input itself' decompress z.axlz -o z.axlz
refuses 1 'missing.py' compress missing.py -o back
refuses 1 'nowhere' compress text.py -o nowhere/back
refuses 1 "axl compress" decompress text.py -o back
refuses 1 'checksum' decompress --model other z.axlz -o back
size=$(stat -c %s z.axlz)
for bytes in 0 3 10 39 40 100 $((size - 1)); do
  head -c "$bytes" z.axlz >cut.axlz
  refuses 1 'cut.axlz' decompress cut.axlz -o back
done
cp z.axlz flipped.axlz
printf '\x55' | dd of=flipped.axlz bs=1 seek=$((size / 2)) conv=notrunc status=none
refuses 1 'checksum' decompress flipped.axlz -o back
[[ ! -e back ]] || fail "a refused file was decompressed"

# Ctrl-C leaves no file, and an earlier one as it was. Bash lets its background jobs ignore SIGINT,
# so that one is given back.
head -c 3M /dev/urandom >large
printf 'earlier' >kept
python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$axl" compress large -o kept >stopped.out 2>stopped.err &
pid=$! code=0
for i in {1..600}; do compgen -G 'kept.tmp.*' >/dev/null && break || sleep 0.05; done
sleep 0.5
kill -INT "$pid"
wait "$pid" || code=$?
((code == 130)) || fail "Ctrl-C ends compress with $code, not 130: $(cat stopped.err)"
[[ $(cat kept) == earlier ]] || fail "Ctrl-C has touched the earlier file"
! compgen -G '*.tmp.*' >/dev/null || fail "Ctrl-C leaves temporaries"
finish
