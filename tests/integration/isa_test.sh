#!/usr/bin/env bash
# The loops of each instruction set consist of its instructions, and share nothing with the rest of
# the program that the linker could keep for CPUs that lack them.
# usage: isa_test.sh AVX2_OBJECT... -- AVX512_OBJECT...
set -euo pipefail

fail() {
  printf 'isa_test.sh: %s\n' "$*" >&2
  exit 1
}

avx2=()
while [[ $1 != -- ]]; do avx2+=("$1") && shift; done
shift
avx512=("$@")
[[ ${#avx2[@]} -gt 0 && ${#avx2[@]} == "${#avx512[@]}" ]] || fail 'not as many objects for each'

# The only symbol that other files see is the table: no function that two files could both hold.
expect_one_table() {
  local symbols
  symbols=$(nm -C --extern-only --defined-only "$2" | cut -d ' ' -f 3- | tr '\n' ' ')
  [[ $symbols =~ ^axl::k$1(Row|Block)Kernels\ $ ]] || fail "$2 defines $symbols"
}
for object in "${avx2[@]}"; do expect_one_table Avx2 "$object"; done
for object in "${avx512[@]}"; do expect_one_table Avx512 "$object"; done

# uses OBJECT REGISTER: the object's loops work with such registers.
uses() { [[ $(objdump -d --no-show-raw-insn "$1" | grep -c "%$2") -gt 0 ]]; }
for object in "${avx2[@]}"; do
  uses "$object" ymm || fail "$object is not for AVX2"
  # AVX-512 has these, the masks, and twice as many of the others.
  for register in zmm 'k[0-7]' '[xy]mm\(1[6-9]\|2[0-9]\|3[01]\)'; do
    ! uses "$object" "$register" || fail "$object has instructions that AVX2 has not: %$register"
  done
done
for object in "${avx512[@]}"; do uses "$object" zmm || fail "$object is not for AVX-512"; done
