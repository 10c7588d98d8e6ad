#!/usr/bin/env bash
# A disk that fills up while a run saves ends it; the earlier checkpoint stays whole.
# usage: disk_full_test.sh AXL
source "$(dirname "$0")/common.sh"

grow_until_full() {
  # A state takes three times the model's 128 KiB; the second finds no room beside the first.
  run 1 train --config tiny.yaml --data text.py --quiet --out "$1" --resume --steps 100000
  grep -q 'error: .*\(No space left\|File too large\)' err || fail "a full disk says: $(cat err)"
  grep -q 'Free some space\|--resume' err || fail "a full disk gives no advice: $(cat err)"
  ! compgen -G "$1/*.tmp.*" >/dev/null || fail "a full disk leaves temporaries: $(ls "$1")"
}

check_earlier() {
  cmp "$1/state.safetensors" kept.state || fail "the earlier state was touched"
  cmp "$1/model.safetensors" kept.model || fail "the earlier model was touched"
  run 0 generate --model "$1" --max-new-tokens 3 x
}

# Without a file system of our own: the kernel refuses files larger than the limit with EFBIG,
# which takes the same way through the program as ENOSPC. Only the log grows in this one.
run 0 "${tiny[@]}" --out limited
cp limited/state.safetensors kept.state && cp limited/model.safetensors kept.model
(
  trap '' XFSZ
  ulimit -f 200 # KiB: less than the state
  grow_until_full limited
  finish
) || failures=$((failures + 1))
check_earlier limited

mkdir full
if mount -t tmpfs -o size=1200k tmpfs full 2>mount.err; then
  trap 'umount "$work/full"; rm -rf "$work"' EXIT
  run 0 "${tiny[@]}" --out full/run
  cp full/run/state.safetensors kept.state && cp full/run/model.safetensors kept.model
  head -c 5M /dev/zero >full/ballast 2>/dev/null || true # what is left
  grow_until_full full/run
  check_earlier full/run
  rm full/ballast
  run 0 "${tiny[@]}" --out full/run --resume --steps 25
else
  skip "no file system of our own to fill ($(cat mount.err)); the limit on file size alone was tested"
fi
finish
