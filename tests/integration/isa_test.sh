#!/usr/bin/env bash
# The loops of each instruction set consist of its instructions, and share nothing with the rest of
# the program that the linker could keep for CPUs that lack them.
# usage: isa_test.sh AVX2_OBJECT AVX512_OBJECT
set -euo pipefail

fail() {
  printf 'isa_test.sh: %s\n' "$*" >&2
  exit 1
}

# The only symbol that other files see is the table: no function that two files could both hold.
symbols_of() { nm -C --extern-only --defined-only "$1" | cut -d ' ' -f 3- | tr '\n' ' '; }
[[ $(symbols_of "$1") == 'axl::kAvx2RowKernels ' ]] || fail "$1 defines $(symbols_of "$1")"
[[ $(symbols_of "$2") == 'axl::kAvx512RowKernels ' ]] || fail "$2 defines $(symbols_of "$2")"

# uses OBJECT REGISTER: the object's loops work with such registers.
uses() { [[ $(objdump -d --no-show-raw-insn "$1" | grep -c "%$2") -gt 0 ]]; }
uses "$1" ymm || fail "$1 is not for AVX2"
# AVX-512 has these, the masks, and twice as many of the others.
for register in zmm 'k[0-7]' '[xy]mm\(1[6-9]\|2[0-9]\|3[01]\)'; do
  ! uses "$1" "$register" || fail "$1 has instructions that AVX2 has not: %$register"
done
uses "$2" zmm || fail "$2 is not for AVX-512"
