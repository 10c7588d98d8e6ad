#!/usr/bin/env bash
# Ctrl-C and SIGTERM save and end a run; a second Ctrl-C ends it at once.
# usage: stop_test.sh AXL
source "$(dirname "$0")/common.sh"
endless=("$axl" train --config tiny.yaml --data text.py --steps 100000000
  --set train.checkpoint_every=0)

# Bash lets its background jobs ignore SIGINT, and what is ignored stays so: give it back.
start() { python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "${endless[@]}" --out "$1" >"$1.out" 2>"$1.err" & }

# until_trained DIR: waits for the first rows of its log.
until_trained() {
  local i
  for i in {1..2400}; do
    [[ -e $1/train_log.csv ]] && (($(wc -l <"$1/train_log.csv") > 3)) && return
    sleep 0.05
  done
  fail "training in $1 does not begin: $(cat "$1.err")"
}

for signal in INT:130 TERM:143; do
  name=${signal%:*} expected=${signal#*:} code=0
  start "$name"
  pid=$!
  until_trained "$name"
  kill -"$name" "$pid"
  kill -"$name" "$pid"  # `timeout` sends it to the process and to its group: one request
  wait "$pid" || code=$?
  ((code == expected)) || fail "SIG$name ends the run with $code, not $expected"
  [[ -s $name/state.safetensors ]] || fail "SIG$name leaves no state"
  grep -q -- '--resume' "$name.err" || fail "SIG$name says not how to go on: $(cat "$name.err")"
  grep -q '^stopped after' "$name.out" || fail "SIG$name prints: $(cat "$name.out")"
  saved=$(tail -n 1 "$name/train_log.csv" | cut -d, -f1)
  run 0 train --resume --out "$name" --data text.py --steps $((saved + 2)) --json
  one_object out
  grep -q "\"steps\": *$((saved + 2))[,}]" out || fail "resumed after $saved, ends as $(cat out)"
  run 0 generate --model "$name" --max-new-tokens 3 x
done

# A step of this one takes seconds, so that the second signal comes in the middle of it.
sed -e 's/d_model: 16/d_model: 512/; s/d_ff: 24/d_ff: 2048/; s/max_seq_len: 32/max_seq_len: 512/' \
  -e 's/batch_size: 2/batch_size: 16/' tiny.yaml >large.yaml
endless[3]=large.yaml
start twice
pid=$! code=0
for i in {1..2400}; do [[ -e twice/train_log.csv ]] && break || sleep 0.05; done
sleep 0.2
kill -INT "$pid"
sleep 0.3
kill -INT "$pid" 2>/dev/null || fail "the run was over before the second Ctrl-C"
begin=$SECONDS
wait "$pid" || code=$?
((code == 130)) || fail "a second Ctrl-C ends the run with $code, not 130"
((SECONDS - begin <= 10)) || fail "a second Ctrl-C takes $((SECONDS - begin)) seconds"
[[ ! -e twice/state.safetensors ]] || fail "the run ended by itself before the second Ctrl-C"
finish
