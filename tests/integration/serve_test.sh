#!/usr/bin/env bash
# The server as a program: what it prints, what it answers, and how it ends.
# usage: serve_test.sh AXL
source "$(dirname "$0")/common.sh"

"$axl" train --config tiny.yaml --data text.py --steps 2 --out model >/dev/null 2>&1 ||
  fail "there is no model to serve"

# start OPTION…: sets pid, and url when the server says where it listens.
start() {
  # Here, not only in the background: what is read below may neither be missing nor the last one's.
  : >serve.out
  : >serve.err
  # Bash lets its background jobs ignore SIGINT, and what is ignored stays so: give it back.
  python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$axl" serve --port 0 --json "$@" >serve.out 2>serve.err &
  pid=$!
  local i
  for i in {1..600}; do
    url=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' serve.out)
    [[ -n $url ]] && grep -q ': loaded ' serve.err && return
    sleep 0.05
  done
  fail "the server does not begin: $(cat serve.err)"
}

# ask PATH [BODY]: prints the status and the body.
ask() {
  python3 -c '
import sys, urllib.request, urllib.error
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
request = urllib.request.Request(sys.argv[1], body, {"Authorization": "Bearer k"})
try:
    with urllib.request.urlopen(request, timeout=60) as r: print(r.status, r.read().decode())
except urllib.error.HTTPError as e: print(e.code, e.read().decode())' "$url$1" "${@:2}"
}

# ends_with CODE: waits for the server.
ends_with() {
  local code=0
  wait "$pid" || code=$?
  ((code == $1)) || fail "the server ends with $code, not $1: $(cat serve.err)"
}

for signal in TERM INT; do
  start --model one=model --model two=model --run model --api-key k
  one_object serve.out
  [[ $(ask /health) == '200 {"status":"ok"}' ]] || fail "health: $(ask /health)"
  [[ $(ask /v1/models) == *'"id":"one"'*'"id":"two"'* ]] || fail "models: $(ask /v1/models)"
  reply=$(ask /v1/completions '{"model":"two","prompt":"x","max_tokens":3,"temperature":0}')
  [[ $reply == '200 {'*'"model":"two"'* ]] || fail "completion: $reply"
  [[ $(ask /runs/0/log) == '200 step,'* ]] || fail "log of a run: $(ask /runs/0/log)"
  kill -"$signal" "$pid"
  ends_with 0
done

# A request that is running when the signal comes gets its answer.
start --model model
reply_file=reply.txt
ask /v1/completions '{"prompt":"x","max_tokens":20000,"temperature":0,"logprobs":0}' >$reply_file &
asking=$!
for i in {1..600}; do [[ $(ask /metrics) == *'axl_running{model="model"} 1'* ]] && break || sleep 0.02; done
kill -TERM "$pid"
wait "$asking"
[[ $(cat $reply_file) == '200 {'* ]] || fail "while draining: $(head -c 300 $reply_file)"
ends_with 0

refuses 2 --insecure serve --model model --host 0.0.0.0
refuses 2 NAME=PATH serve --model model --model model
refuses 1 nowhere serve --model nowhere
refuses 2 nowhere serve --model model --run nowhere
finish
