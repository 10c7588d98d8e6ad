#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace axl {

/// The nearest IEEE 754 half, of two the one with an even last bit; from 65520 on an infinity. NaN
/// stays NaN. Needs no F16C and no rounding mode but the usual one.
inline uint16_t to_f16(float x) {
  constexpr uint32_t kInfinity = 0x7F800000, kOverflow = 0x477FF000, kSmallestNormal = 0x38800000;
  const uint32_t bits = std::bit_cast<uint32_t>(x), size = bits & 0x7FFFFFFF;
  const uint32_t sign = bits >> 16 & 0x8000;
  uint32_t half;
  if (size > kInfinity) {
    half = 0x7E00 | (size >> 13 & 0x3FF);
  } else if (size >= kOverflow) {
    half = 0x7C00;
  } else if (size < kSmallestNormal) {  // next to 0.5, floats are multiples of 2^-24, as these are
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3F000000;
  } else {
    half = (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

/// Exact.
inline float from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, size = half & 0x7FFF;
  uint32_t bits;
  if (size >= 0x7C00) {
    bits = 0x7F800000 | size << 13;
  } else if (size >= 0x400) {
    bits = (size << 13) + 0x38000000;
  } else {
    bits = std::bit_cast<uint32_t>(static_cast<float>(size) * 0x1p-24f);
  }
  return std::bit_cast<float>(sign | bits);
}

/// The upper half of the float, rounded to nearest, of two to the even one. NaN stays NaN.
inline uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// Stochastic rounding of a finite x by noise uniform in [0, 2^16): to the neighbour towards zero
/// or away from it, so often each that x is the mean. An infinity stays one.
inline uint16_t to_bf16(float x, uint32_t noise) {
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(x) + noise) >> 16);
}

/// Exact.
inline float from_bf16(uint16_t half) {
  return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
}

/// Whether none is an infinity or NaN.
inline bool bf16_are_finite(std::span<const uint16_t> x) {
  return std::all_of(x.begin(), x.end(), [](uint16_t half) { return (half & 0x7F80) != 0x7F80; });
}

}  // namespace axl
