// Compiled once per instruction set, like row_kernels.cc and by its rules.
#include "block_kernels.h"

#include <utility>

#include "vectors.h"

#if AXL_LANES == 16
#define AXL_BLOCK_KERNELS kAvx512BlockKernels
#else
#define AXL_BLOCK_KERNELS kAvx2BlockKernels
#endif

namespace axl {
namespace {

// A register tile: with two registers of B and one of A, all that there are.
constexpr int kTileRows = kLanes == 16 ? 12 : 6, kTileVectors = 2;
// Terms that a tile sums before it adds to C: so much of B stays in the first cache.
constexpr int64_t kMaxTerms = 256;

// Three rows of A from one pointer: an address is a base and once or twice an index.
constexpr int kRowsOfPointer = 3;

// Rows [i, i + kRows) and kVectors registers of columns from j on; with `some`, one register that
// has so many columns.
template <int kRows, int kVectors, bool kSome>
inline void multiply_tile(const BlockProduct& p, int64_t i, int64_t j, int64_t some) {
  constexpr int kPointers = (kRows + kRowsOfPointer - 1) / kRowsOfPointer;
  const int64_t row = p.a_row, col = p.a_col, b_stride = p.b_stride;
  const float* a[kPointers];
#pragma GCC unroll 4
  for (int q = 0; q < kPointers; ++q) a[q] = p.a + (i + q * kRowsOfPointer) * row;
  const float* b = p.b + j;
  float* c = p.c + i * p.c_stride + j;
  Vector sums[kRows][kVectors] = {};
  for (int64_t t = 0; t < p.k; ++t) {
    Vector terms[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) terms[v] = kSome ? load_some(b, some) : load(b + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const float own = a[r / kRowsOfPointer][r % kRowsOfPointer * row];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[r][v] += own * terms[v];
    }
#pragma GCC unroll 4
    for (int q = 0; q < kPointers; ++q) a[q] += col;
    b += b_stride;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* to = c + r * p.c_stride + v * kLanes;
      Vector value = p.alpha * sums[r][v];
      if (p.add) value += kSome ? load_some(to, some) : load(to);
      kSome ? store_some(value, to, some) : store(value, to);
    }
  }
}

// All rows, of some columns.
template <int kRows, int kVectors, bool kSome>
inline void multiply_rows(const BlockProduct& p, int64_t i, int64_t j, int64_t some) {
  for (; i + kRows <= p.m; i += kRows) multiply_tile<kRows, kVectors, kSome>(p, i, j, some);
  if constexpr (kRows > 1)
    if (i < p.m) multiply_rows<(kRows > 4 ? 4 : kRows / 2), kVectors, kSome>(p, i, j, some);
}

void multiply_terms(const BlockProduct& p) {
  int64_t j = 0;
  for (; j + kTileVectors * kLanes <= p.n; j += kTileVectors * kLanes)
    multiply_rows<kTileRows, kTileVectors, false>(p, 0, j, 0);
  for (; j + kLanes <= p.n; j += kLanes) multiply_rows<kTileRows, 1, false>(p, 0, j, 0);
  if (j < p.n) multiply_rows<kTileRows, 1, true>(p, 0, j, p.n - j);
}

void multiply(const BlockProduct& all) {
  BlockProduct p = all;
  int64_t left = all.k;
  do {  // once where there are no terms: the sum is 0
    p.k = left < kMaxTerms ? left : kMaxTerms;
    multiply_terms(p);
    p.a += p.k * p.a_col;
    p.b += p.k * p.b_stride;
    p.add = true;
    left -= p.k;
  } while (left > 0);
}

// Blocks of kHalf lanes: every second of a stays, and of b the one before each goes beside it; or
// the rest.
template <int kHalf, int... kLane>
inline void exchange(Vector& a, Vector& b, std::integer_sequence<int, kLane...>) {
  const Vector first =
      __builtin_shufflevector(a, b, (kLane & kHalf ? kLanes + kLane - kHalf : kLane)...);
  b = __builtin_shufflevector(a, b, (kLane & kHalf ? kLanes + kLane : kLane + kHalf)...);
  a = first;
}

// Swaps the off-diagonal halves of blocks of 2 · kHalf rows and columns.
template <int kHalf>
inline void transpose_stage(Vector (&v)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kHalf))
      exchange<kHalf>(v[i], v[i + kHalf], std::make_integer_sequence<int, kLanes>());
}

inline void transpose_registers(Vector (&v)[kLanes]) {
  transpose_stage<1>(v);
  transpose_stage<2>(v);
  transpose_stage<4>(v);
  if constexpr (kLanes == 16) transpose_stage<8>(v);
}

void transpose(const float* x, int64_t x_stride, int64_t rows, int64_t cols, float* y,
               int64_t y_stride) {
  int64_t i = 0;
  for (; i + kLanes <= rows; i += kLanes) {
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) {
      Vector v[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) v[r] = load(x + (i + r) * x_stride + j);
      transpose_registers(v);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) store(v[r], y + (j + r) * y_stride + i);
    }
    for (; j < cols; ++j)
      for (int r = 0; r < kLanes; ++r) y[j * y_stride + i + r] = x[(i + r) * x_stride + j];
  }
  for (; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) y[j * y_stride + i] = x[i * x_stride + j];
}

using VectorInts = int32_t __attribute__((vector_size(sizeof(Vector))));

/// One register of columns, and rows [first, end) of each that count.
struct CountedRows {
  VectorInts first, end;
  CountedRows(const int32_t* f, const int32_t* e) {
    __builtin_memcpy(&first, f, sizeof(first));
    __builtin_memcpy(&end, e, sizeof(end));
  }
  VectorInts none() const { return end <= first; }
  /// Lanes in which row j counts.
  VectorInts at(int64_t j) const {
    const VectorInts row = VectorInts{} + static_cast<int32_t>(j);
    return (first <= row) & (row < end);
  }
};

// A register of columns passes by all rows, so that sums over rows are sums of registers.
void softmax_columns(float* x, int64_t stride, int64_t rows, int64_t columns, const int32_t* first,
                     const int32_t* end, float* lse) {
  for (int64_t i = 0; i < columns; i += kLanes, x += kLanes) {
    const CountedRows counted(first + i, end + i);
    const Vector lowest = all_lanes(-__builtin_inff());
    Vector top = lowest, sum{};
    for (int64_t j = 0; j < rows; ++j) {
      const Vector score = counted.at(j) ? load(x + j * stride) : lowest;
      top = score > top ? score : top;
    }
    for (int64_t j = 0; j < rows; ++j) {
      const Vector p = counted.at(j) ? fast_exp(load(x + j * stride) - top) : Vector{};
      store(p, x + j * stride);
      sum += p;
    }
    const VectorInts none = counted.none();
    const Vector inverse = none ? Vector{} : 1.0f / sum;
    for (int64_t j = 0; j < rows; ++j) store(load(x + j * stride) * inverse, x + j * stride);
    for (int lane = 0; lane < kLanes; ++lane)
      lse[i + lane] = none[lane] ? 0.0f : top[lane] + __builtin_logf(sum[lane]);
  }
}

void softmax_columns_backward(float* x, float* dp, int64_t stride, int64_t rows, int64_t columns,
                              const int32_t* first, const int32_t* end, const float* lse,
                              float scale) {
  for (int64_t i = 0; i < columns; i += kLanes, x += kLanes, dp += kLanes) {
    const CountedRows counted(first + i, end + i);
    const Vector shift = load(lse + i);
    Vector mean{};
    for (int64_t j = 0; j < rows; ++j) {
      const VectorInts counts = counted.at(j);
      const Vector p = counts ? fast_exp(load(x + j * stride) - shift) : Vector{};
      store(p, x + j * stride);
      mean += counts ? p * load(dp + j * stride) : Vector{};
    }
    for (int64_t j = 0; j < rows; ++j) {
      const Vector d = load(x + j * stride) * (load(dp + j * stride) - mean) * scale;
      store(counted.at(j) ? d : Vector{}, dp + j * stride);
    }
  }
}

}  // namespace

const BlockKernels AXL_BLOCK_KERNELS = {.multiply = multiply,
                                        .transpose = transpose,
                                        .softmax_columns = softmax_columns,
                                        .softmax_columns_backward = softmax_columns_backward};

}  // namespace axl
