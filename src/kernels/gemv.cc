#include <cstring>

#include "axl/kernels/gemm.h"

namespace axl::detail {
namespace {

constexpr int kLanes = 16;  // one AVX-512 register, or two of AVX2
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

float horizontal_sum(Vector v) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

// Several weight rows at once: independent chains of additions hide the latency of one, and x is
// loaded once for all.
template <int kRows>
void dot_rows(const float* x, const float* w, int64_t stride, int64_t k, float* out) {
  Vector sums[kRows] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    const Vector xi = load(x + i);
    for (int r = 0; r < kRows; ++r) sums[r] += xi * load(w + r * stride + i);
  }
  for (int r = 0; r < kRows; ++r) {
    out[r] = horizontal_sum(sums[r]);
    for (int64_t j = i; j < k; ++j) out[r] += x[j] * w[r * stride + j];
  }
}

template <int kRows>
void gemv_rows(ConstMat x, ConstMat w, int64_t n, Mat y, Write write, float alpha) {
  float dots[kRows];
  for (int64_t r = 0; r < x.rows; ++r) {
    dot_rows<kRows>(x.row(r), w.row(n), w.stride, x.cols, dots);
    for (int i = 0; i < kRows; ++i)
      y(r, n + i) = (write == Write::kAdd ? y(r, n + i) : 0.0f) + alpha * dots[i];
  }
}

}  // namespace

void gemv(ConstMat x, ConstMat w, Mat y, Write write, float alpha) {
  constexpr int kBlock = 8;
  int64_t n = 0;
  for (; n + kBlock <= w.rows; n += kBlock) gemv_rows<kBlock>(x, w, n, y, write, alpha);
  for (; n < w.rows; ++n) gemv_rows<1>(x, w, n, y, write, alpha);
}

}  // namespace axl::detail
