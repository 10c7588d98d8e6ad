#!/usr/bin/env bash
# scripts/bench.sh writes every table, as Markdown and as JSON.
# shellcheck source=common.sh
here=$(dirname "$(realpath "$0")")
source "$here/common.sh" "$1"

code=0
"$here/../../scripts/bench.sh" --axl "$axl" --config tiny.yaml --seconds 0.1 --out bench >out 2>err ||
  code=$?
((code == 0)) || fail "bench.sh exits with $code: $(cat err)"
one_object bench.json
python3 - <<'PYTHON' || fail "bench.json lacks something: $(cat bench.json)"
import json
bench = json.load(open('bench.json'))
assert [row['weights'] for row in bench['generating']] == ['f32', 'bf16', 'q8_0', 'q4_k_m']
for row in bench['generating']:
    assert 0 < row['of_ceiling'] <= row['of_mean_bandwidth'], row  # no reading is better than the best
assert {row['kernels'] for row in bench['training']} >= {'avx2'}
assert bench['scaling'][0]['threads'] == 1
for row in bench['training'] + bench['scaling']:
    assert row['config'] == 'tiny' and row['bytes_per_s'] > 0 and row['mfu'] > 0, row
own, less = bench['memory']
assert own['settings'] == 'its own' and less['settings'] == 'less memory'
for row in bench['memory']:
    assert row['peak_rss_bytes'] > 2**20 and row['predicted_bytes'] > 2**20, row
assert less['predicted_bytes'] < own['predicted_bytes']
assert bench['machine']['cores'] >= 1
PYTHON
for title in Training 'Training by' Generating 'Peak resident memory'; do
  grep -q "^## $title" bench.md || fail "bench.md has no table '$title'"
done
cmp -s out bench.md || fail "bench.sh does not print what it writes"

code=0
"$here/../../scripts/bench.sh" --speed 1 >out 2>err || code=$?
((code == 2)) || fail "an unknown argument exits with $code"
finish
