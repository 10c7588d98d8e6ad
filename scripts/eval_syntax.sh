#!/usr/bin/env bash
# What share of a model's samples is Python that parses? Run with --help for more.
set -euo pipefail
# shellcheck source=scripts/messages.sh
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/messages.sh"

readonly PROMPTS=('def ' 'class ' 'import ' 'from ' 'if __name__' '@property' 'for ' 'with open('
  'try:' 'x = ')

SAMPLES=50
BYTES=400
TEMPERATURE=0.7
MODEL=
AXL=
KEEP=

usage() {
  cat <<'USAGE'
usage: scripts/eval_syntax.sh [--model PATH] [--samples N] [--bytes N] [--temperature T]
                              [--axl PROGRAM] [--keep DIR]

Lets a model write samples of Python and prints the share of them that Python's parser accepts.
Sample i continues prompt i modulo 10 of a fixed list ("def ", "class ", "import " …) with seed i,
so that a model always gives the same figure. Needs python3, for this script only.

A sample stops in the middle of something, so it is cut before it is parsed: at the end of its last
complete line, then before the last line that begins at the left margin, as what follows it may be
unfinished. Where nothing would remain, the sample is one statement and is taken to its last
complete line. A sample without a complete line counts as failed. What is parsed is not run.

  --model PATH       model; default $AXL_MODEL, then checkpoints/latest
  --samples N        how many; default 50
  --bytes N          bytes to generate for each; default 400
  --temperature T    default 0.7
  --axl PROGRAM      default build/release/axl
  --keep DIR         keep the samples there, as written by the model
USAGE
}

parse_arguments() {
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --model | --samples | --bytes | --temperature | --axl | --keep)
        [[ -n ${2:-} ]] || misuse "$1 needs a value"
        ;;&
      --model) MODEL=$2 ;;
      --samples) SAMPLES=$2 ;;
      --bytes) BYTES=$2 ;;
      --temperature) TEMPERATURE=$2 ;;
      --axl) AXL=$2 ;;
      --keep) KEEP=$2 ;;
      *) misuse "unknown argument '$1'" ;;
    esac
    shift 2
  done
  [[ $SAMPLES =~ ^[1-9][0-9]*$ ]] || misuse "--samples '$SAMPLES' is not a number from 1"
  [[ $BYTES =~ ^[1-9][0-9]*$ ]] || misuse "--bytes '$BYTES' is not a number from 1"
}

check_programs() {
  command -v python3 >/dev/null || die "python3 is not installed: apt install python3"
  [[ -n $AXL ]] || AXL=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/build/release/axl
  command -v "$AXL" >/dev/null ||
    die "there is no program '$AXL': build it (cmake --preset release && cmake --build --preset release)"
}

# Writes the samples as DIR/0.py, DIR/1.py …
generate() {
  local dir=$1 i arguments=(--temperature "$TEMPERATURE" --max-new-tokens "$BYTES" --quiet)
  [[ -z $MODEL ]] || arguments+=(--model "$MODEL")
  for ((i = 0; i < SAMPLES; ++i)); do
    "$AXL" generate "${arguments[@]}" --seed "$i" "${PROMPTS[i % ${#PROMPTS[@]}]}" >"$dir/$i.py" ||
      die "axl generate failed; its message stands above"
    [[ ! -t 2 ]] || printf '\r\033[K%d of %d samples' $((i + 1)) "$SAMPLES" >&2
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# Prints how many of the samples in DIR parse, of the first N.
count_parsed() {
  python3 -W ignore - "$1" "$2" <<'PYTHON'
import ast, sys

def complete_part(text):
    """The statements that are certainly whole; bytes."""
    lines = text.split(b'\n')[:-1]  # what follows the last line end may go on
    margins = [i for i, line in enumerate(lines) if line and line[:1] not in b' \t#)]}']
    if margins and margins[-1] > 0:
        lines = lines[:margins[-1]]
    return b'\n'.join(lines) + b'\n' if lines else b''

def parses(source):
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(source.strip())

directory, samples = sys.argv[1], int(sys.argv[2])
# `axl generate` ends what it prints with a line end that the model has not written.
texts = [open(f'{directory}/{i}.py', 'rb').read()[:-1] for i in range(samples)]
print(sum(parses(complete_part(text)) for text in texts))
PYTHON
}

main() {
  parse_arguments "$@"
  check_programs
  local dir
  if [[ -n $KEEP ]]; then
    mkdir -p "$KEEP"
    dir=$KEEP
  else
    dir=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory of now
    trap "rm -rf '$dir'" EXIT
  fi
  generate "$dir"
  local parsed
  parsed=$(count_parsed "$dir" "$SAMPLES") || die "the samples in $dir could not be checked"
  printf '%d of %d samples parse (%s %%): temperature %s, %d bytes each, seeds 0 to %d, model %s\n' \
    "$parsed" "$SAMPLES" "$(awk "BEGIN { printf \"%.0f\", 100 * $parsed / $SAMPLES }")" \
    "$TEMPERATURE" "$BYTES" $((SAMPLES - 1)) "${MODEL:-${AXL_MODEL:-checkpoints/latest}}"
}

main "$@"
