#!/usr/bin/env bash
# Kills training again and again, resumes it, and compares the result with an undisturbed run.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/kill_test.sh [KILLS [AXL]]

Trains a tiny model once undisturbed. Then trains it again, but ends the program with SIGKILL at
KILLS random moments (default 20), each followed by --resume. After each kill, the model that was
saved last must still load. In the end the weights must equal those of the undisturbed run, byte
for byte. AXL is the program (default build/release/axl). $SEED repeats the moments of a run.
USAGE
}

fail() {
  printf 'kill_test: error: %s\n' "$*" >&2
  exit 1
}

# Prints a random time below a third of an undisturbed run's.
random_delay() {
  awk -v all="$run_ms" -v dice="$RANDOM" 'BEGIN { printf "%.3f", all / 3000 * dice / 32768 }'
}

# Every saved model loads, whatever moment the kill came at.
check_saved_model() {
  [[ ! -e $work/killed/model.safetensors ]] ||
    "$axl" generate --model "$work/killed" --max-new-tokens 1 x >"$work/text" 2>&1 ||
    fail "after a kill the saved model does not load: $(cat "$work/text")"
}

check_result() {
  cmp "$work/undisturbed/model.safetensors" "$work/killed/model.safetensors" ||
    fail "after $kills kills the weights differ from those of the undisturbed run (SEED=$SEED)"
  local rows
  rows=$(($(wc -l <"$work/killed/train_log.csv") - 1))
  ((rows == steps)) || fail "train_log.csv has $rows rows for $steps steps (SEED=$SEED)"
  # Each kill may leave a half-written file, which the next writer of that file removes.
  ! compgen -G "$work/killed/*.tmp.*" >/dev/null || fail "temporaries are left: $(ls "$work/killed")"
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac
wanted=${1:-20}
[[ $wanted =~ ^[1-9][0-9]*$ ]] || fail "'$wanted' is no number of kills; see --help"
axl=$(realpath "${2:-$(dirname "${BASH_SOURCE[0]}")/../build/release/axl}")
[[ -x $axl ]] || fail "there is no program $axl; build it first"
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
steps=300

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for i in {1..200}; do printf 'def function_%d(x):\n    return x + %d\n\n' "$i" "$i"; done >text.py
head -n 100 text.py >again.py
cat >tiny.yaml <<YAML
name: tiny
model:
  {d_model: 16, n_heads: 2, d_ff: 24, n_layers_per_scale: 1, max_seq_len: 32,
   ngram: {orders: [2], rows: 64}, recall: {orders: [3], bits: 10}, repeats: [3]}
train: {optimizer: adamw, batch_size: 2, steps: $steps, checkpoint_every: 7, holdout: 0, threads: 1}
YAML

train=("$axl" train --config "$work/tiny.yaml" --data "$work/text.py" --data "$work/again.py" --quiet)
begin=$(date +%s%3N)
"${train[@]}" --out "$work/undisturbed" >/dev/null
run_ms=$(($(date +%s%3N) - begin))
kills=0 runs=1
while ((kills < wanted)); do
  "${train[@]}" --out "$work/killed" --resume >/dev/null 2>"$work/log" &
  pid=$!
  sleep "$(random_delay)"
  kill -KILL $pid 2>/dev/null || true
  status=0
  wait $pid 2>/dev/null || status=$?
  case $status in
    137)
      kills=$((kills + 1))
      check_saved_model
      ;;
    0) # done before the kill: one more run for the kills that are missing
      check_result
      rm -r "$work/killed"
      runs=$((runs + 1))
      ;;
    *) fail "resuming after $kills kills exits with $status: $(cat "$work/log") (SEED=$SEED)" ;;
  esac
done
"${train[@]}" --out "$work/killed" --resume >/dev/null 2>"$work/log" ||
  fail "resuming after $kills kills fails: $(cat "$work/log") (SEED=$SEED)"
check_result
printf 'kill_test: %d kills over %d runs of %d steps: the weights equal those of the undisturbed run\n' \
  "$kills" "$runs" "$steps"
