#pragma once

#include "block_layout.h"

// The scales of a block: those for which the weighted squared error of the coded values is least
// among the candidates. Plain ones, that map the extremes to the last codes, are among them.

namespace axl {

/// Values with what their errors weigh.
struct Samples {
  const float* x;
  const float* weight;
  int size;
};

/// The integers that codes may be.
struct Range {
  int low, high;
};

/// Values are coded as scale q + offset.
struct Fit {
  float scale = 0, offset = 0;
};

/// The code whose value is next to x; `inverse` is 1 / scale, or 0 where the scale is.
inline int nearest_code(float x, float inverse, float offset, Range range) {
  const float q = __builtin_nearbyintf((x - offset) * inverse);
  const float low = static_cast<float>(range.low), high = static_cast<float>(range.high);
  return static_cast<int>(q < low ? low : q > high ? high : q);
}
inline float inverse_of(float scale) { return scale == 0 ? 0 : 1 / scale; }

/// A scale of either sign without offset, for a range with -low = high + 1: the largest value may
/// have either sign, and only low reaches as far.
Fit fit_scale(const Samples& samples, Range codes);

/// A scale >= 0 and an offset, which is at most `largest_offset`.
Fit fit_affine(const Samples& samples, Range codes, float largest_offset);

/// The block of 256 with sub-blocks of `sub_block` elements and such ranges; mins = {0, 0} for a
/// format that has none.
SuperBlock search_super_block(const Samples& samples, int sub_block, Range codes, Range scales,
                              Range mins);

}  // namespace axl
