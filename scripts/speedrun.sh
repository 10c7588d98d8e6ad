#!/usr/bin/env bash
# Three CPU minutes from nothing to a score. Run with --help for more.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
source scripts/lib.sh

CONFIG=axl_quick
TIME=3m
readonly RUN=checkpoints/speedrun

usage() {
  cat <<'USAGE'
usage: scripts/speedrun.sh [--config NAME] [--time TIME]

Trains on the quick start's corpus for three minutes into checkpoints/speedrun (an earlier run there
is moved aside), scores data/holdout.txt and data/unseen.txt, and prints what README's record table
"Speedrun: three CPU minutes" asks for, as a row to paste. Builds axl and gathers the corpus first
where that is not done. Leave the machine alone meanwhile: what else it does costs score.

  --config NAME   a configuration of configs/, by default axl_quick
  --time TIME     how long to train; only 3m counts for the table
USAGE
}

# value KEY JSON: the first value of that key, a number or a text, in what axl --json prints.
value() { grep -oE "\"$1\":(\"[^\"]*\"|[^,}]*)" <<<"$2" | head -n 1 | cut -d : -f 2- | tr -d '"'; }
# file_score NAME: bits per byte of one of the scored files; nothing where it was not scored.
file_score() {
  local after=${SCORED#*\"file\":\""$1"\"}
  [[ $after == "$SCORED" ]] || value bpb "$after"
}

train() {
  TRAINED=$("$AXL" train --json --config "$CONFIG" --max-time "$TIME" --out "$RUN")
}
score_both() { SCORED=$(score "$RUN" --json); }

# The instruction set of the matrix products is known only once one has run.
describe_machine() {
  local bench
  bench=$("$AXL" bench train --json --quiet --config axl_micro_600k --seconds 0.1)
  printf '%s, %s CPUs, %s' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(nproc)" "$(value isa "$bench")"
}

# "fbf7afc", or "fbf7afc-dirty" with changes that are not committed.
commit() { git describe --always --dirty --exclude '*' 2>/dev/null || printf 'no commit'; }
subject() { git log -1 --format=%s 2>/dev/null | tr '|' '/'; }
rounded() { [[ -z $1 ]] && printf 'none' || LC_ALL=C printf '%.3f' "$1"; }

report() {
  local bytes holdout unseen
  bytes=$(LC_ALL=C awk -v b="$(value bytes "$TRAINED")" 'BEGIN { printf "%.1f MiB", b / 1048576 }')
  holdout=$(rounded "$(file_score data/holdout.txt)")
  unseen=$(rounded "$(file_score data/unseen.txt)")
  printf '%-16s %s\n' 'bpb holdout.txt' "$holdout" 'bpb unseen.txt' "$unseen" \
    'bytes seen' "$(value bytes "$TRAINED") ($bytes)" 'steps' "$(value steps "$TRAINED")" \
    'seconds' "$(rounded "$(value seconds "$TRAINED")")" \
    'parameters' "$(value params "$("$AXL" info --json --model "$RUN")")" \
    'configuration' "$CONFIG, $TIME" 'machine' "$(describe_machine)" 'commit' "$(commit)"
  printf '\n| %s | %s | %s: %s | %s | %s | %s |\n' "$(date +%F)" "$(commit)" "$CONFIG" \
    "$(subject)" "$bytes" "$holdout" "$unseen"
}

main() {
  parse_arguments "$@"
  STEPS=5
  step "install what is missing" scripts/install_deps.sh
  step "build" build
  step "gather Python source" corpus
  step "train $CONFIG for $TIME" train
  step "score files that the model has never seen" score_both
  printf '\n' >&2
  report
  [[ $TIME == 3m ]] || say "(a run of $TIME: not for the table)"
}

main "$@"
