#!/usr/bin/env bash
# Builds and runs every test of axl in all its builds. Run with --help for more.
set -euo pipefail

# Tests that run threads against each other, built for the thread sanitizer.
readonly THREADED_TESTS=(batch_test branches_test data_test golden_test infer_test late_threads_test nn_test
  packed_gemm_test parallel_test serve_engine_test serve_http_test serve_robustness_test train_test)
# Tests of arithmetic, which the library for products and the instruction set decide about.
readonly ARITHMETIC_TESTS=(attention_test batch_test branches_test compress_test gemm_test golden_test infer_test
  isa_test kernels_test nn_test optimizer_test packed_gemm_test quantized_test recompute_test
  train_test whole_model_test)
readonly FUZZ_SECONDS=60
# A program under the thread sanitizer takes half a minute at most.
readonly HUNG_SECONDS=400

usage() {
  cat <<'USAGE'
usage: scripts/test.sh [--quick]

Installs what is missing, then builds and runs, each in a directory of its own below build/
  release         all tests, the build for this machine
  release avx2    the tests of the model again, held to AVX2 instructions
  portable        the tests of arithmetic and the program, built for any AVX2 machine, products by
                  Eigen
  asan            all tests under the address and undefined-behaviour sanitizers
  tsan            the multi-threaded tests under the thread sanitizer
  fuzz            readers of files and of requests fed with random input, a minute all at once

  --quick         release only

The output of each stays in build/<name>.log. Exits with 1 if any failed.
USAGE
}

say() { printf '%s\n' "$*"; }

configure_and_build() {
  local preset=$1
  shift
  cmake --preset "$preset" && cmake --build --preset "$preset" "$@"
}

run_ctest() {
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

suite_release() { configure_and_build release && run_ctest release; }

suite_release_avx2() {
  AXL_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 run_ctest release -L '^(gemm|golden|infer|nn|train)_test$'
}

suite_portable() {
  configure_and_build portable --target axl "${ARITHMETIC_TESTS[@]}" || return
  local labels
  labels=$(printf '|%s' "${ARITHMETIC_TESTS[@]}")
  run_ctest portable -L "^(${labels:1})\$"
}

suite_asan() { configure_and_build asan && run_ctest asan; }

# within SECONDS PROGRAM ARGUMENT…: runs it. One that does not end in time is killed, after it was
# asked where its threads stand, and has failed.
within() {
  local seconds=$1 program
  shift
  "$@" &
  program=$!
  local end=$((SECONDS + seconds))
  while kill -0 "$program" 2>/dev/null; do
    if ((SECONDS >= end)); then
      say "'$*' did not end within $seconds s. Its threads:"
      gdb -p "$program" -batch -ex 'thread apply all backtrace 12' 2>/dev/null | grep -E '^(Thread|#)' || true
      kill -KILL "$program"
      break
    fi
    sleep 0.1
  done
  wait "$program"
}

# libarcher, which comes with clang's OpenMP, tells the sanitizer how OpenMP's threads wait for each
# other. The OpenMP runtime itself is not instrumented: what it does inside is not looked at.
under_tsan() {
  OMP_NUM_THREADS=4 TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" \
    within "$HUNG_SECONDS" "${FIXED_ADDRESSES[@]}" "$@"
}

suite_tsan() {
  configure_and_build tsan --target planted_race "${THREADED_TESTS[@]}" || return
  # Where the kernel spreads addresses widely, clang 14's sanitizer cannot start.
  FIXED_ADDRESSES=(setarch -R)
  "${FIXED_ADDRESSES[@]}" true || FIXED_ADDRESSES=()
  say "first a race that must be found"
  local report attempt
  # Of two accesses at one moment the sanitizer may miss both, so it gets many chances.
  for attempt in {1..100}; do
    report=$(under_tsan build/tsan/tests/planted_race 2>&1 || true)
    [[ $report != *"ThreadSanitizer: data race"* ]] || break
  done
  say "found at attempt $attempt"
  [[ $report == *"ThreadSanitizer: data race"* ]] || {
    say "$report"
    say "the sanitizer did not find it, so that its silence would prove nothing"
    return 1
  }
  local name
  for name in "${THREADED_TESTS[@]}"; do under_tsan "build/tsan/tests/$name" || return; done
}

suite_fuzz() {
  configure_and_build asan --target fuzz || return
  build/asan/tests/make_fuzz_corpus build/asan/tests || return
  local target failed=0
  for target in build/asan/tests/*_fuzz; do
    mkdir -p "$target.corpus"
    "$target" -max_total_time=$FUZZ_SECONDS -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
      "$target.corpus" >"$target.log" 2>&1 &
  done
  for target in build/asan/tests/*_fuzz; do wait -n || failed=1; done
  for target in build/asan/tests/*_fuzz; do
    say "$target"
    tail -n 60 "$target.log"
  done
  return $failed
}

RESULTS=()
FAILED=0

# run_suite NAME: runs suite_NAME with its output in build/NAME.log, and notes how it went.
run_suite() {
  local name=$1 log=build/$1.log begin=$SECONDS status=0
  say "=== ${name//_/ } (build/$name.log)"
  "suite_$name" >"$log" 2>&1 || status=$?
  if ((status)); then
    FAILED=1
    say "--- the end of $log"
    tail -n 120 "$log"
  fi
  RESULTS+=("$(printf '%-14s %-8s %4d s   %s' "${name//_/ }" "$( ((status)) && say FAILED || say passed)" \
    $((SECONDS - begin)) "$(summary_of "$log")")")
  say "${RESULTS[-1]}"
}

# What a log says of numbers: ctest's count, else those of the programs that were run one by one.
summary_of() {
  local counts
  counts=$(grep -o '^[0-9]*% tests passed.*' "$1" || true)
  [[ -n $counts ]] || counts=$(sed -n -e 's/^\[  PASSED  \] \([0-9]* tests*\).*/\1/p' \
    -e 's/^stat::number_of_executed_units: *\([0-9]*\)/\1 inputs/p' "$1" | paste -sd + | sed 's/+/ + /g')
  printf '%s' "$counts"
}

main() {
  local suites=(release release_avx2 portable asan tsan fuzz)
  cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
  case ${1:-} in
    '') ;;
    --quick) suites=(release) ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      say "test: error: unknown argument '$1'; try 'scripts/test.sh --help'" >&2
      exit 2
      ;;
  esac
  if ((${#suites[@]} == 1)); then scripts/install_deps.sh; else scripts/install_deps.sh --tests; fi
  mkdir -p build
  local name
  for name in "${suites[@]}"; do run_suite "$name"; done

  say
  say "=== the end of build/release.log"
  tail -n 12 build/release.log
  say
  say "=== all suites"
  printf '%s\n' "${RESULTS[@]}"
  exit "$FAILED"
}

main "$@"
