#pragma once

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/kernels/elementwise.h"

namespace axl {

/// Blocks that for_row_blocks cuts rows into: the number depends on the rows alone.
inline int64_t row_block_count(int64_t rows) {
  constexpr int64_t kMinRows = 8;
  return std::clamp<int64_t>(rows / kMinRows, 1, kPartials);
}

/// body(block, begin, end) for the rows [begin, end) of each of at most kPartials blocks.
template <class Body>
void for_row_blocks(int64_t rows, const Body& body) {
  const int64_t blocks = row_block_count(rows);
  parallel_for(blocks, [&](int64_t i) { body(i, i * rows / blocks, (i + 1) * rows / blocks); });
}

/// Adds the partial sums of each block to `sum` [1, n]; as many rows of `partials` as
/// for_row_blocks made blocks for `rows`.
inline void add_partials(int64_t rows, ConstMat partials, Mat sum) {
  for (int64_t b = 0; b < row_block_count(rows); ++b) {
    const float* p = partials.row(b);
    for (int64_t i = 0; i < sum.cols; ++i) sum.data[i] += p[i];
  }
}

}  // namespace axl
