#include "axl/kernels/gemm.h"

namespace axl::detail {
namespace {

// Four weight rows at once: four independent chains of additions hide the latency of one.
template <int kWeights>
void dot_rows(const float* x, const float* w, int64_t stride, int64_t k, float* out) {
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  const float *w0 = w, *w1 = w + stride * (kWeights > 1), *w2 = w + 2 * stride * (kWeights > 2),
              *w3 = w + 3 * stride * (kWeights > 3);
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t i = 0; i < k; ++i) {
    s0 += x[i] * w0[i];
    if constexpr (kWeights > 1) s1 += x[i] * w1[i];
    if constexpr (kWeights > 2) s2 += x[i] * w2[i];
    if constexpr (kWeights > 3) s3 += x[i] * w3[i];
  }
  const float sums[4] = {s0, s1, s2, s3};
  for (int i = 0; i < kWeights; ++i) out[i] = sums[i];
}

void store(const float* dots, int count, float alpha, Write write, float* y) {
  for (int i = 0; i < count; ++i) y[i] = (write == Write::kAdd ? y[i] : 0.0f) + alpha * dots[i];
}

}  // namespace

void gemv(ConstMat x, ConstMat w, Mat y, Write write, float alpha) {
  float dots[4];
  int64_t n = 0;
  for (; n + 4 <= w.rows; n += 4) {
    for (int64_t r = 0; r < x.rows; ++r) {
      dot_rows<4>(x.row(r), w.row(n), w.stride, x.cols, dots);
      store(dots, 4, alpha, write, &y(r, n));
    }
  }
  for (; n < w.rows; ++n) {
    for (int64_t r = 0; r < x.rows; ++r) {
      dot_rows<1>(x.row(r), w.row(n), w.stride, x.cols, dots);
      store(dots, 1, alpha, write, &y(r, n));
    }
  }
}

}  // namespace axl::detail
