# Shared by the scripts that go from sources to a trained model. Sourced from the root of the
# repository by a script that defines usage and the defaults of CONFIG and TIME.
# shellcheck shell=bash

# shellcheck source=scripts/messages.sh
source scripts/messages.sh

AXL=build/release/axl

# Sets CONFIG and TIME.
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

# Of STEPS, which the script sets.
STEP=0
# step TITLE COMMAND…: runs the command; when it fails, says which step that was and ends.
step() {
  local title=$1 status=0
  shift
  printf '\n=== %d/%d %s\n' $((++STEP)) "$STEPS" "$title" >&2
  "$@" || status=$?
  ((status)) || return 0
  if ((status == 130 || status == 143)); then
    note "stopped in step $STEP ($title)"
    say "A training run is saved. Continue it with: build/release/axl train --resume"
  else
    note "error: step $STEP ($title) failed with status $status; why stands above"
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

# score DIRECTORY [OPTION]…: scores its model on the files that training never sees.
score() {
  local model=$1 files=(data/holdout.txt)
  shift
  [[ ! -s data/unseen.txt ]] || files+=(data/unseen.txt)
  "$AXL" eval-ppl --model "$model" "$@" "${files[@]}"
}
