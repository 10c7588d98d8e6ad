#include <cmath>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/row_blocks.h"
#include "vector_math.h"

namespace axl {
namespace {

// log Σ exp(x), the maximum taken out so that nothing overflows. NaN and infinity come through.
float log_sum_exp(const float* x, int64_t n) {
  float top = x[0], sum = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += fast_exp(x[i] - top);
  float poison = 0;  // fast_exp clamps: let a NaN among the inputs reach the result
#pragma omp simd reduction(+ : poison)
  for (int64_t i = 0; i < n; ++i) poison += x[i] * 0.0f;
  return top + std::log(sum) + poison;
}

}  // namespace

void cross_entropy(ConstMat logits, std::span<const int32_t> targets, float* nll) {
  for_row_blocks(logits.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits.row(r);
      nll[r] = targets[r] < 0 ? 0.0f : log_sum_exp(x, logits.cols) - x[targets[r]];
    }
  });
}

void cross_entropy_backward(Mat logits, std::span<const int32_t> targets, float scale, float* nll) {
  for_row_blocks(logits.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* x = logits.row(r);
      const int32_t target = targets[r];
      nll[r] = 0.0f;
      if (target < 0) {
        std::fill_n(x, logits.cols, 0.0f);
        continue;
      }
      const float total = log_sum_exp(x, logits.cols);
      nll[r] = total - x[target];
#pragma omp simd
      for (int64_t i = 0; i < logits.cols; ++i) x[i] = scale * fast_exp(x[i] - total);
      x[target] -= scale;
    }
  });
}

}  // namespace axl
