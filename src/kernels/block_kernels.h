#pragma once

#include <cstdint>

/// Products of small matrices that lie in a core's cache, and softmax of their columns, as
/// attention has them, on the calling thread. block_kernels.cc is compiled once per instruction
/// set, as row_kernels.cc is.
namespace axl {

/// C = alpha · A · B, or C += …; A [m, k], B [k, n], C [m, n]. A may lie transposed.
struct BlockProduct {
  const float* a;  ///< element (i, j) at a[i · a_row + j · a_col]; one of these is 1
  int64_t a_row, a_col;
  const float* b;
  int64_t b_stride;
  float* c;  ///< aliases neither A nor B
  int64_t c_stride;
  int64_t m, n, k;
  float alpha;
  bool add;
};

struct BlockKernels {
  /// Sums each element in the order of k, whatever m and n are.
  void (*multiply)(const BlockProduct& p);
  /// y [cols, rows] = xᵀ, x [rows, cols].
  void (*transpose)(const float* x, int64_t x_stride, int64_t rows, int64_t cols, float* y,
                    int64_t y_stride);

  /// Column i of x [rows, columns], of which rows [first[i], end[i]) count: they become
  /// e^x / Σ e^x, the others 0, whatever they were. lse[i] = log Σ e^x, or 0 without rows. What is
  /// there beyond `columns`, up to whole registers, is overwritten, and `first`, `end` and lse go
  /// on as far.
  void (*softmax_columns)(float* x, int64_t stride, int64_t rows, int64_t columns,
                          const int32_t* first, const int32_t* end, float* lse);
  /// The same again from lse: x becomes p = e^(x − lse), and dp, the gradient of p, that of what x
  /// was scaled from: scale · p · (dp − Σ p·dp), 0 where rows do not count.
  void (*softmax_columns_backward)(float* x, float* dp, int64_t stride, int64_t rows,
                                   int64_t columns, const int32_t* first, const int32_t* end,
                                   const float* lse, float scale);
};

extern const BlockKernels kAvx2BlockKernels, kAvx512BlockKernels;

}  // namespace axl
