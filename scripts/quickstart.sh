#!/usr/bin/env bash
# From nothing to a trained model and its first lines of Python. Run with --help for more.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
source scripts/lib.sh

CONFIG=axl_micro
TIME=3m

usage() {
  cat <<'USAGE'
usage: scripts/quickstart.sh [--config NAME] [--time TIME]

Installs what is missing, builds axl, gathers Python source to train on, trains a model, scores it
on files that it has never seen and lets it complete "def fib(n):". What is done already is not
done again, except training: the earlier model is moved aside, not overwritten.

  --config NAME   a configuration of configs/, by default axl_micro
  --time TIME     how long to train: 90s, 3m, 1h30m; by default 3m
USAGE
}

next_steps() {
  cat <<NEXT

Your model is in checkpoints/$CONFIG. What to try next, with axl for build/release/axl:
  more of it                      axl generate --temperature 0.5 --max-new-tokens 400 "class "
  a better model                  axl train --config $CONFIG --max-time 30m
  one that learns your code       axl train --config $CONFIG --data ~/my/code
  what is inside                  axl info
README.md tells the rest.
NEXT
}

main() {
  parse_arguments "$@"
  STEPS=6
  step "install what is missing" scripts/install_deps.sh
  step "build" build
  step "gather Python source" corpus
  step "train $CONFIG for $TIME (Ctrl-C saves and ends)" \
    "$AXL" train --config "$CONFIG" --max-time "$TIME"
  step "score files that the model has never seen" score "checkpoints/$CONFIG"
  step "complete 'def fib(n):'" "$AXL" generate --model "checkpoints/$CONFIG" "def fib(n):"
  next_steps
}

main "$@"
