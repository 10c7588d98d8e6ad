#pragma once

#include <cstdint>

#include "axl/tensor/arena.h"
#include "axl/tensor/view.h"

namespace axl {

/// A matrix in `room`, which grows if need be, for a copy that a product reads: its rows begin
/// whole cache lines apart, and never so far that many of them share a few sets of a core's first
/// cache.
inline Mat copied_rows(Buffer& room, int64_t rows, int64_t cols) {
  constexpr int64_t kLineFloats = 16, kConflicting = 128;
  int64_t stride = (cols + kLineFloats - 1) / kLineFloats * kLineFloats;
  if (stride % kConflicting == 0) stride += kLineFloats;
  const size_t bytes = sizeof(float) * rows * stride;
  if (room.bytes() < bytes) room = Buffer(bytes);
  return Mat(room.floats(), rows, cols, stride);
}

}  // namespace axl
