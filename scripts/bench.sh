#!/usr/bin/env bash
# Measures training, generating and memory on this machine. Run with --help for more.
set -euo pipefail
REPOSITORY=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
# shellcheck source=scripts/messages.sh
source "$REPOSITORY/scripts/messages.sh"

AXL=$REPOSITORY/build/release/axl
OUT=bench
SECONDS_EACH=10
CONFIGS=(axl_micro axl_reasoning axl_300m)
TOO_SLOW=(axl_1b) # to measure more than its memory
TYPES=(f32 bf16 q8_0 q4_k_m)

usage() {
  cat <<'USAGE'
usage: scripts/bench.sh [--quick] [--seconds S] [--config NAME]… [--out PREFIX] [--axl PROGRAM]

Measures, with `axl bench` and /usr/bin/time, and writes as PREFIX.md and PREFIX.json:
  - training: bytes per second and mfu of each configuration in f32, in bf16 where the CPU has it, and
    in f32 held to AVX2
  - training on one core, on six where there are as many, and on all
  - generating with weights in f32, bf16, q8_0 and q4_k_m, against the memory's or cache's bandwidth,
    and a source file of axl's written while guessing ahead
  - peak memory of training with batches of 8 and Lion, as predicted and as measured, and of the same
    with all that saves memory; axl_1b's too, unless configurations are named
Each mfu and each ceiling come from the same run. Leave the machine alone meanwhile: what else it does
costs speed. axl_300m needs 6 GB of memory and 6 GB of disk in $TMPDIR, axl_1b 5 and 6. The models
that generate are trained for a single step: speed does not depend on what they learned.

  --quick          axl_micro alone, two seconds each
  --seconds S      how long to measure each speed; default 10
  --config NAME    measure this configuration; repeatable; default axl_micro, axl_reasoning, axl_300m
  --out PREFIX     default bench
  --axl PROGRAM    default build/release/axl
USAGE
}

parse_arguments() {
  local chosen=()
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --quick)
        SECONDS_EACH=2
        CONFIGS=(axl_micro)
        TOO_SLOW=()
        shift
        continue
        ;;
      --seconds | --config | --out | --axl) [[ -n ${2:-} ]] || misuse "$1 needs a value" ;;&
      --seconds) SECONDS_EACH=$2 ;;
      --config) chosen+=("$2") ;;
      --out) OUT=$2 ;;
      --axl) AXL=$2 ;;
      *) misuse "unknown argument '$1'" ;;
    esac
    shift 2
  done
  ((${#chosen[@]} == 0)) || CONFIGS=("${chosen[@]}") TOO_SLOW=()
  [[ $SECONDS_EACH =~ ^[0-9]+(\.[0-9]+)?$ ]] || misuse "--seconds '$SECONDS_EACH' is not a number"
}

check_programs() {
  command -v "$AXL" >/dev/null ||
    die "there is no program '$AXL': build it (cmake --preset release && cmake --build --preset release)"
  [[ -x /usr/bin/time ]] || die "/usr/bin/time is not installed: apt install time"
}

# value KEY JSON: the value of that key, a number or a text, in what axl --json prints.
value() { grep -oE "\"$1\":(\"[^\"]*\"|[^,}]*)" <<<"$2" | head -n 1 | cut -d : -f 2- | tr -d '"'; }
# rounded DIGITS NUMBER
rounded() { LC_ALL=C printf "%.$1f" "$2"; }

# Both files grow line by line, so that a run that is stopped leaves what it measured.
markdown() { printf '%s\n' "$@" | tee -a "$OUT.md"; }
# table TITLE HEADER…: begins a table in both.
table() {
  local key=$1
  shift
  markdown "" "$@"
  printf '%s\n  "%s": [' "$JSON_SEPARATOR" "$key" >>"$OUT.json"
  JSON_SEPARATOR=
}
row_json() {
  printf '%s\n    %s' "$JSON_SEPARATOR" "$1" >>"$OUT.json"
  JSON_SEPARATOR=,
}
end_table() {
  printf '\n  ]' >>"$OUT.json"
  JSON_SEPARATOR=,
}

# The first CPU of each core, one a line.
first_cpus() { lscpu -p=CPU,CORE,SOCKET | grep -v '^#' | sort -t , -k 3n -k 2n -u | cut -d , -f 1; }

describe_machine() {
  local model memory commit
  model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  memory=$(LC_ALL=C awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
  commit=$(git -C "$REPOSITORY" describe --always --dirty --exclude '*' 2>/dev/null || printf 'none')
  FIRST=$("$AXL" bench train --json --config axl_micro_600k --seconds 0.1)
  local isa
  isa=$(value isa "$FIRST")
  markdown "# axl on $model" "" \
    "$(first_cpus | wc -l) cores, $(nproc) CPUs, $memory GiB of memory, $isa. $("$AXL" --version)," \
    "commit $commit, $(date +%F). Each speed is the mean of $SECONDS_EACH seconds."
  printf '{\n  "machine": {"cpu": "%s", "cores": %d, "cpus": %d, "memory_gib": %s, "isa": "%s"},\n' \
    "$model" "$(first_cpus | wc -l)" "$(nproc)" "$memory" "$isa" >>"$OUT.json"
  printf '  "version": "%s", "commit": "%s", "date": "%s", "seconds": %s' \
    "$("$AXL" --version)" "$commit" "$(date +%F)" "$SECONDS_EACH" >>"$OUT.json"
  JSON_SEPARATOR=,
}

# bench_training CONFIG PRECISION [OPTION]…: axl_300m takes batches of 8, to fit into memory.
bench_training() {
  local config=$1 precision=$2 batch=()
  shift 2
  [[ $config != axl_300m ]] || batch=(--set train.batch_size=8)
  "$AXL" bench train --json --config "$config" --set "train.precision=$precision" \
    --seconds "$SECONDS_EACH" "${batch[@]}" "$@"
}

# training_row CONFIG JSON
training_row() {
  markdown "| $1 | $(value precision "$2") | $(value kernels "$2") | $(value threads "$2") | $(
    rounded 0 "$(value bytes_per_s "$2")") | $(rounded 0 "$(value gflops "$2")") | $(
    rounded 0 "$(value ceiling_gflops "$2")") | $(rounded 3 "$(value mfu "$2")") |"
  row_json "$2"
}

TRAINING_HEADER=("| config | precision | kernels | threads | bytes/s | GFLOP/s | ceiling | mfu |"
  "|---|---|---|---|---|---|---|---|")

training() {
  local config json
  table training "## Training" "" "${TRAINING_HEADER[@]}"
  for config in "${CONFIGS[@]}"; do
    json=$(bench_training "$config" f32)
    training_row "$config" "$json"
    if [[ $(value precision "$FIRST") == bf16 ]]; then
      json=$(bench_training "$config" bf16)
      training_row "$config" "$json"
    fi
    json=$(AXL_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 bench_training "$config" f32)
    training_row "$config" "$json"
  done
  end_table
}

scaling() {
  local cpus counts=(1) config count json
  mapfile -t cpus < <(first_cpus)
  ((${#cpus[@]} <= 6)) || counts+=(6)
  ((${#cpus[@]} == 1)) || counts+=("${#cpus[@]}")
  table scaling "## Training by the number of threads, each on a core of its own" "" \
    "${TRAINING_HEADER[@]}"
  for config in "${CONFIGS[@]}"; do
    for count in "${counts[@]}"; do
      json=$(IFS=, && taskset -c "${cpus[*]:0:count}" "$AXL" bench train --json --config "$config" \
        --set train.precision=f32 --set train.batch_size=8 --seconds "$SECONDS_EACH" \
        --threads "$count")
      training_row "$config" "$json"
    done
  done
  end_table
}

# What runs train on whose speed or memory is wanted, not their model.
BRIEFLY=(--quiet --data "$REPOSITORY/README.md" --holdout 0)

generating() {
  local config type model json ahead
  table generating "## Generating, one stream" "" \
    "| config | weights | bytes/s | median ms per byte | reads per byte | ceiling, bytes/s | of it | of the mean bandwidth | source, guessing ahead | bytes per pass |" \
    "|---|---|---|---|---|---|---|---|---|---|"
  for config in "${CONFIGS[@]}"; do
    rm -rf "$WORK/model"
    "$AXL" train "${BRIEFLY[@]}" --config "$config" --steps 1 --out "$WORK/model" \
      --set train.optimizer=sgd --set train.batch_size=1 >/dev/null
    for type in "${TYPES[@]}"; do
      model=$WORK/model
      if [[ $type != f32 ]]; then
        model=$WORK/$type.gguf
        "$AXL" quantize "$WORK/model" --type "$type" -o "$model" >/dev/null
      fi
      json=$("$AXL" bench generate --json --model "$model" --seconds "$SECONDS_EACH")
      ahead=$("$AXL" bench generate --json --model "$model" --seconds "$SECONDS_EACH" \
        --text "$REPOSITORY/src/model/model.cc")
      markdown "| $config | $type | $(rounded 0 "$(value bytes_per_s "$json")") | $(
        rounded 3 "$(value ms_per_byte_p50 "$json")") | $(LC_ALL=C awk \
        -v b="$(value weight_bytes_per_byte "$json")" 'BEGIN { printf "%.1f MB", b / 1e6 }') | $(
        rounded 0 "$(value ceiling_bytes_per_s "$json")") | $(
        rounded 2 "$(value of_ceiling "$json")") | $(
        rounded 2 "$(value of_mean_bandwidth "$json")") | $(
        rounded 0 "$(value bytes_per_s "$ahead")") | $(rounded 2 "$(value bytes_per_pass "$ahead")") |"
      row_json "{\"config\":\"$config\",\"weights\":\"$type\",\"guessing_ahead\":$ahead,${json#\{}"
      rm -f "$WORK/$type.gguf"
    done
  done
  end_table
}

LESS_MEMORY=(train.recompute=true train.update_in_backward=true train.grad_clip=0
  train.momentum_dtype=bf16 train.weights_dtype=bf16)

# memory_row CONFIG WHAT [OPTION]…
memory_row() {
  local config=$1 what=$2 run predicted measured
  shift 2
  run=("$AXL" train "${BRIEFLY[@]}" --config "$config" --set train.optimizer=lion
    --set train.batch_size=8 "$@")
  predicted=$(value train_bytes "$("${run[@]}" --dry-run --json)")
  /usr/bin/time -v -o "$WORK/time" "${run[@]}" --steps 2 --out "$WORK/trained" >/dev/null
  rm -rf "$WORK/trained"
  measured=$((1024 * $(sed -n 's/.*Maximum resident set size (kbytes): //p' "$WORK/time")))
  markdown "| $config | $what | $((predicted / 1000000)) MB | $((measured / 1000000)) MB | $(
    LC_ALL=C awk -v a="$measured" -v b="$predicted" 'BEGIN { printf "%.2f", a / b }') |"
  row_json "{\"config\":\"$config\",\"settings\":\"$what\",\"predicted_bytes\":$predicted,\"peak_rss_bytes\":$measured}"
}

memory() {
  local config setting less=()
  for setting in "${LESS_MEMORY[@]}"; do less+=(--set "$setting"); done
  table memory "## Peak resident memory of training, Lion, batches of 8" "" \
    "Less memory: ${LESS_MEMORY[*]}." "" \
    "| config | settings | predicted | measured | measured / predicted |" "|---|---|---|---|---|"
  for config in "${CONFIGS[@]}"; do
    memory_row "$config" "its own"
    memory_row "$config" "less memory" "${less[@]}"
  done
  for config in "${TOO_SLOW[@]}"; do memory_row "$config" "its own"; done
  end_table
}

main() {
  parse_arguments "$@"
  check_programs
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  JSON_SEPARATOR=
  : >"$OUT.md"
  : >"$OUT.json"
  describe_machine
  training
  scaling
  generating
  memory
  printf '\n}\n' >>"$OUT.json"
  say "written: $OUT.md, $OUT.json"
}

main "$@"
