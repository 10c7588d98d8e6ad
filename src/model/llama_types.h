#pragma once

#include <cstdint>

#include "axl/tensor/packed.h"

// How llama.cpp's quantiser chooses the type of a matrix (its llama-quant.cpp): what it gives more
// bits, and what it takes where rows do not divide into blocks.

namespace axl {

/// The i-th of n layers whose values and down-projections get more bits: the first and last eighth
/// and every third between.
constexpr bool more_bits(int64_t i, int64_t n) {
  return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/// `wanted` where rows of `cols` are whole blocks of it, else the type that stands in.
inline ElementType unpadded_type(ElementType wanted, int64_t cols) {
  const auto fits = [cols](ElementType type) { return cols % element_format(type).elements == 0; };
  if (fits(wanted)) return wanted;
  ElementType smaller_blocks = wanted;
  if (wanted == ElementType::kQ4_K) smaller_blocks = ElementType::kQ5_0;
  if (wanted == ElementType::kQ5_K) smaller_blocks = ElementType::kQ5_1;
  if (wanted == ElementType::kQ6_K) smaller_blocks = ElementType::kQ8_0;
  return fits(smaller_blocks) ? smaller_blocks : ElementType::kF16;
}

}  // namespace axl
