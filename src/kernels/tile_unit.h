#pragma once

#include <cstdint>

/// Products of bf16 by a unit that multiplies whole tiles, as Intel's AMX does: 8 registers, each
/// of 16 rows of 64 bytes.
namespace axl::detail {

using Bf16Pair = uint32_t;  ///< of neighbours along k: the even one in the low half

/// sums [32][32] = A · B. A: 32 rows of `pairs`, `a_stride` pairs apart; B: [pairs][32]; `pairs` is
/// a multiple of 16. Unit says what it does by the names of AMX's instructions.
template <class Unit>
void multiply_tiles(const Bf16Pair* a, int64_t a_stride, const Bf16Pair* b, int64_t pairs,
                    float* sums) {
  constexpr int64_t kSide = 16, kCols = 2 * kSide, kStride = 4 * kCols;
  const Bf16Pair* lower_a = a + kSide * a_stride;
  Unit::template zero<0>();
  Unit::template zero<1>();
  Unit::template zero<2>();
  Unit::template zero<3>();
  for (int64_t p = 0; p < pairs; p += kSide) {
    Unit::template load<4>(a + p, 4 * a_stride);
    Unit::template load<5>(lower_a + p, 4 * a_stride);
    Unit::template load<6>(b + p * kCols, kStride);
    Unit::template load<7>(b + p * kCols + kSide, kStride);
    Unit::template multiply<0, 4, 6>();
    Unit::template multiply<1, 4, 7>();
    Unit::template multiply<2, 5, 6>();
    Unit::template multiply<3, 5, 7>();
  }
  float* lower_sums = sums + kSide * kCols;
  Unit::template store<0>(sums, kStride);
  Unit::template store<1>(sums + kSide, kStride);
  Unit::template store<2>(lower_sums, kStride);
  Unit::template store<3>(lower_sums + kSide, kStride);
}

/// Intel's, of the calling thread. Assembly rather than intrinsics: those do not tell the compiler
/// what they read.
struct Amx {
  /// Whether this CPU has it and the system lets this process use it.
  static bool available();

  /// All registers whole. Until end() they are part of what the system saves for the thread.
  static void begin() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const whole;
    static_assert(sizeof whole == 64);
    asm volatile("ldtilecfg %0" : : "m"(whole));
  }
  static void end() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  /// 16 rows, `stride` bytes apart.
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  /// C += A · B, C of f32. A row of A has 32 bf16, a row of B 16 pairs of neighbours along k.
  template <int kC, int kA, int kB>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};

}  // namespace axl::detail
