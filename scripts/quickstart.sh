#!/usr/bin/env bash
# From nothing to a trained model and its first lines of Python. Run with --help for more.
set -euo pipefail

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

say() { printf '%s\n' "$*" >&2; }
misuse() {
  say "quickstart: error: $*"
  say "try 'scripts/quickstart.sh --help'"
  exit 2
}

parse_arguments() {
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --config | --time) [[ -n ${2:-} ]] || misuse "$1 needs a value" ;;&
      --config) CONFIG=$2 ;;
      --time) TIME=$2 ;;
      *) misuse "unknown argument '$1'" ;;
    esac
    shift 2
  done
  # Now rather than after the build.
  [[ -f configs/$CONFIG.yaml ]] ||
    misuse "there is no configs/$CONFIG.yaml; there are:$(printf ' %s' configs/*.yaml |
      sed 's|configs/||g; s|\.yaml||g')"
  [[ $TIME =~ ^([0-9]+(\.[0-9]+)?[smh])+$ ]] || misuse "--time '$TIME' is not a time such as 3m"
}

# step TITLE COMMAND…: runs the command; when it fails, says which step that was and ends.
STEP=0
step() {
  local title=$1 status=0
  shift
  printf '\n=== %d/6 %s\n' $((++STEP)) "$title" >&2
  "$@" || status=$?
  ((status)) || return 0
  if ((status == 130 || status == 143)); then
    say "quickstart: stopped in step $STEP ($title)"
    say "A training run is saved. Continue it with: build/release/axl train --resume"
  else
    say "quickstart: error: step $STEP ($title) failed with status $status; why stands above"
    say "The command was: $*"
  fi
  exit "$status"
}

build() {
  local log=build/configure.log
  mkdir -p build
  cmake --preset release >"$log" 2>&1 || {
    cat "$log" >&2
    return 1
  }
  cmake --build --preset release --target axl >&2
}

corpus() {
  if [[ -s data/holdout.txt && -s data/python/MANIFEST.txt ]]; then
    say "already there; scripts/make_corpus.sh makes it anew"
  else
    scripts/make_corpus.sh
  fi
}

score() {
  local files=(data/holdout.txt)
  [[ ! -s data/unseen.txt ]] || files+=(data/unseen.txt)
  "$AXL" eval-ppl --model "checkpoints/$CONFIG" "${files[@]}"
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
  cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
  parse_arguments "$@"
  AXL=build/release/axl
  step "install what is missing" scripts/install_deps.sh
  step "build" build
  step "gather Python source" corpus
  step "train $CONFIG for $TIME (Ctrl-C saves and ends)" \
    "$AXL" train --config "$CONFIG" --max-time "$TIME"
  step "score files that the model has never seen" score
  step "complete 'def fib(n):'" "$AXL" generate --model "checkpoints/$CONFIG" "def fib(n):"
  next_steps
}

main "$@"
