#include "axl/kernels/fusion.h"

#include <algorithm>
#include <cmath>

#include "row_kernels.h"

namespace axl {

void fuse_row(const float* const* views, int64_t scales, ConstMat weight, float eps, float* alpha,
              float* rstd, float* out) {
  const RowKernels& kernels = row_kernels();
  const int64_t d = weight.cols / scales;
  const float temperature = 1.0f / std::sqrt(static_cast<float>(weight.cols));
  std::fill_n(alpha, scales, 0.0f);
  for (int64_t s = 0; s < scales; ++s) {
    if (!views[s]) continue;
    rstd[s] = 1.0f / std::sqrt(kernels.dot(views[s], views[s], d) / d + eps);
    for (int64_t k = 0; k < scales; ++k)
      alpha[k] += temperature * rstd[s] * kernels.dot(weight.row(k) + s * d, views[s], d);
  }
  kernels.softmax(alpha, scales);
  std::fill_n(out, d, 0.0f);
  for (int64_t s = 0; s < scales; ++s)
    if (views[s]) kernels.add_scaled(alpha[s], views[s], out, d);
}

void sum_row(const float* const* views, int64_t scales, int64_t d, float* alpha, float* out) {
  const RowKernels& kernels = row_kernels();
  float all = 0;
  std::fill_n(out, d, 0.0f);
  for (int64_t s = 0; s < scales; ++s) {
    alpha[s] = views[s] ? std::sqrt(kernels.dot(views[s], views[s], d) / d) : 0.0f;
    all += alpha[s];
    if (views[s]) kernels.add(views[s], out, d);
  }
  for (int64_t s = 0; s < scales; ++s) alpha[s] /= std::max(all, 1e-30f);
}

// With c = 1/√(S·D): dz_k = α_k (dα_k − Σ α dα), dû_s = c Σ_k dz_k W_ks, and through û = u·r the
// derivative of the unit-rms map, du = r·dû − u · (r³/D) (dû·u), beside α_s · d_out.
void fuse_row_backward(const float* const* views, int64_t scales, ConstMat weight,
                       const float* alpha, const float* rstd, const float* d_out,
                       float* const* d_views, Mat d_weight) {
  const RowKernels& kernels = row_kernels();
  const int64_t d = weight.cols / scales;
  const float c = 1.0f / std::sqrt(static_cast<float>(weight.cols));
  float d_alpha[kMaxScales], dz[kMaxScales], mean = 0;
  for (int64_t s = 0; s < scales; ++s) {
    d_alpha[s] = views[s] ? kernels.dot(d_out, views[s], d) : 0.0f;
    mean += alpha[s] * d_alpha[s];
  }
  for (int64_t k = 0; k < scales; ++k) dz[k] = alpha[k] * (d_alpha[k] - mean);

  for (int64_t s = 0; s < scales; ++s) {
    if (!views[s]) continue;
    const float *u = views[s], r = rstd[s];
    float* du = d_views[s];
    std::fill_n(du, d, 0.0f);
    for (int64_t k = 0; k < scales; ++k) {
      kernels.add_scaled(c * dz[k], weight.row(k) + s * d, du, d);
      kernels.add_scaled(c * dz[k] * r, u, d_weight.row(k) + s * d, d);
    }
    const float pull = kernels.dot(du, u, d) * r * r * r / d;
    kernels.unit_rms_backward(u, r, pull, alpha[s], d_out, du, d);
  }
}

}  // namespace axl
