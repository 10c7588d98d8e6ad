# Shared by the tests that drive the program: `source common.sh AXL` makes a directory of its own
# with a tiny model's configuration and something to train on, and goes there.
set -euo pipefail

axl=$(realpath "$1")
failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset AXL_MODEL

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  failures=$((failures + 1))
}
skip() { printf '%s: SKIPPED: %s\n' "$(basename "$0")" "$*" >&2; }
finish() { ((failures == 0)) || exit 1; }

for i in {1..100}; do printf 'def function_%d(x):\n    return x + %d\n\n' "$i" "$i"; done >text.py
cat >tiny.yaml <<'YAML'
name: tiny
model: {d_model: 16, n_heads: 2, d_ff: 24, n_layers_per_scale: 1, max_seq_len: 32}
train: {optimizer: adamw, batch_size: 2, steps: 20, checkpoint_every: 5, holdout: 0, threads: 1}
YAML
tiny=(train --config tiny.yaml --data text.py --quiet)

# run CODE ARGUMENTS…: expects that exit code; leaves stdout in ./out and stderr in ./err.
run() {
  local expected=$1 code=0
  shift
  "$axl" "$@" >out 2>err || code=$?
  ((code == expected)) || fail "axl $* exits with $code, not $expected: $(cat err)"
}

# refuses CODE PART ARGUMENTS…: exits with CODE, nothing on stdout, and a single line
# "axl: error: …" with PART in it.
refuses() {
  local code=$1 part=$2
  shift 2
  run "$code" "$@"
  [[ ! -s out ]] || fail "axl $* prints on stdout: $(head -c 200 out)"
  [[ $(grep -c '' err) == 1 && $(cat err) == "axl: error: "* ]] || fail "axl $* says: $(cat err)"
  grep -qF -- "$part" err || fail "axl $* says '$(cat err)', without '$part'"
}

# one_object FILE: the file is exactly one JSON object.
one_object() {
  python3 -c 'import json, sys; assert isinstance(json.load(open(sys.argv[1])), dict)' "$1" ||
    fail "this is not one JSON object: $(cat "$1")"
}

# json EXPRESSION FILE: prints what the Python expression makes of the object `o` in it.
json() {
  python3 -c 'import json, sys; o = json.load(open(sys.argv[2])); print(eval(sys.argv[1]))' "$1" "$2"
}
