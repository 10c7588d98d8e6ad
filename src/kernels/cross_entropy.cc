#include <algorithm>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/row_blocks.h"
#include "row_kernels.h"

namespace axl {

void cross_entropy(ConstMat logits, std::span<const int32_t> targets, float* nll) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(logits.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits.row(r);
      nll[r] = targets[r] < 0 ? 0.0f : kernels.log_sum_exp(x, logits.cols) - x[targets[r]];
    }
  });
}

void cross_entropy_backward(Mat logits, std::span<const int32_t> targets, float scale, float* nll) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(logits.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* x = logits.row(r);
      const int32_t target = targets[r];
      nll[r] = 0.0f;
      if (target < 0) {
        std::fill_n(x, logits.cols, 0.0f);
        continue;
      }
      const float total = kernels.log_sum_exp(x, logits.cols);
      nll[r] = total - x[target];
      kernels.scaled_exp(x, total, scale, logits.cols);
      x[target] -= scale;
    }
  });
}

}  // namespace axl
