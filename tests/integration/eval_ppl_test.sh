#!/usr/bin/env bash
# What eval-ppl promises beyond a score: directories, interval, overlap, breakdown, compressors.
# usage: eval_ppl_test.sh AXL
source "$(dirname "$0")/common.sh"

run 0 "${tiny[@]}" --out tiny
export AXL_MODEL=$work/tiny
mkdir docs
for i in {1..12}; do
  printf 'def f_%d(self):\n    # comment %d\n    return "%d" + x\n' "$i" "$i" "$i" >"docs/$i.py"
done
printf 'not code' >docs/ignored.bin
head -c 3000 text.py >copy.py
for i in {1..60}; do printf '%d nothing of the kind is in the training text\n' "$i"; done >other.py

# A directory is its files, of which the worst are listed.
run 0 eval-ppl --quiet docs
[[ $(head -n 1 out) == 'the 5 worst of 12 files'* ]] || fail "a directory gives: $(cat out)"
(($(grep -c '^docs/' out) == 5 && $(grep -c '^total' out) == 1)) || fail "a directory: $(cat out)"
run 0 eval-ppl --verbose docs
(($(grep -c '^docs/' out) == 12)) || fail "--verbose lists: $(cat out)"
run 0 eval-ppl --quiet docs/*.py
(($(grep -c '^docs/' out) == 12)) || fail "named files are listed: $(cat out)"
run 0 eval-ppl --quiet --breakdown text.py
for row in indent word digit '0 to 15 bytes' '16 to 32 bytes'; do
  grep -q "^  $row " out || fail "--breakdown lacks $row: $(cat out)"
done

# Overlap with training text.
run 0 eval-ppl --quiet other.py --train-data text.py
grep -q '^0.00 % of all runs' out || fail "no overlap is given as: $(cat out)"
[[ ! -s err ]] || fail "a warning without overlap: $(cat err)"
run 0 eval-ppl --quiet copy.py other.py --train-data text.py
grep -q 'warning: .* occur in the training' err || fail "no warning of the total: $(cat err)"
grep -q 'warning: copy.py: 100.0 %' err || fail "no warning of the file: $(cat err)"
! grep -q 'warning: other.py' err || fail "a warning of the wrong file: $(cat err)"

# A fake compressor that compresses nothing: 8 bits per byte, primed or not. No other is installed.
mkdir bin
printf '#!/bin/sh\nfor input; do :; done\nexec /bin/cat "$input"\n' >bin/xz
chmod +x bin/xz
PATH=$work/bin run 0 eval-ppl --quiet --baselines --prime text.py copy.py other.py
/bin/grep -q 'xz  *8.0000  8.0000  copy.py' out || fail "--baselines prints: $(/bin/cat out)"
/bin/grep -q '7z is not installed: apt install p7zip-full' out || fail "$(/bin/cat out)"

PATH=$work/bin run 0 eval-ppl --json --quiet --baselines --prime docs --train-data text.py docs copy.py
one_object out
python3 - out <<'PY' || fail "the JSON object is wrong: $(cat out)"
import json, sys
e = json.load(open(sys.argv[1]))
low, high = e['bpb_ci95']
assert low <= e['bpb'] <= high, e['bpb_ci95']
assert len(e['files']) == 13 and e['files'][-1]['file'] == 'copy.py'
assert e['files'][-1]['shared_shingles'] == 1 and e['files'][0]['shared_shingles'] == 0
assert 0 < e['shared_shingles'] < 1
for rows in e['by_position'], e['by_kind']:
    assert sum(r['bytes'] for r in rows) == e['bytes']
    mean = sum(r['bytes'] * r['bpb'] for r in rows) / e['bytes']
    assert abs(mean - e['bpb']) < 1e-6, (mean, e['bpb'])
assert [(r['first'], r['last']) for r in e['by_position']] == [(0, 15), (16, 32)]
assert {'indent', 'word', 'string', 'comment'} <= {r['kind'] for r in e['by_kind']}
xz, zstd, ppmd = e['baselines']
assert (xz['name'], xz['installed'], zstd['installed']) == ('xz', True, False)
assert 'apt install zstd' in zstd['missing'] and 'command' in xz
assert xz['bytes'] == xz['compressed_bytes'] == e['bytes'] and xz['bpb'] == 8
assert xz['together']['primed_bpb'] == 8 and 'primed_bpb' not in xz, 'only few files are primed'
assert len(xz['files']) == 13 and xz['files'][-1]['compressed_bytes'] == 3000
PY

# Ctrl-C ends the compressor too, and leaves no temporary files. (Bash lets its background jobs
# ignore SIGINT: python gives it back.)
printf '#!/bin/sh\necho $$ >"%s/child"\nexec /bin/sleep 100\n' "$work" >bin/xz
mkdir tmp
TMPDIR=$work/tmp PATH=$work/bin:$PATH python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$axl" eval-ppl --baselines copy.py >out 2>err &
pid=$! code=0
for i in {1..600}; do [[ -s child ]] && break || sleep 0.05; done
kill -INT "$pid"
wait "$pid" || code=$?
((code == 130)) || fail "Ctrl-C during --baselines ends with $code: $(cat err)"
! kill -0 "$(cat child)" 2>/dev/null || fail "the compressor still runs"
[[ -z $(ls tmp) ]] || fail "temporary files are left: $(ls tmp)"

refuses 2 '--baselines' eval-ppl --prime text.py text.py
refuses 1 'none.py' eval-ppl --baselines --prime none.py text.py
refuses 1 'none.py' eval-ppl --train-data none.py text.py
mkdir empty
refuses 1 'empty' eval-ppl empty
finish
