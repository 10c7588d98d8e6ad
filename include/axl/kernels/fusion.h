#pragma once

#include <cstdint>

#include "axl/tensor/view.h"

namespace axl {

/// Gated fusion of the S scales' views u_s of one byte:
///
///   z = W [û_1; …; û_S] / √(S·D),  û = u / rms(u),  α = softmax(z),  fused = Σ α_s u_s
///
/// W [S, S·D]. A scale without a view (nullptr) counts as a zero vector. D wide each; alpha, rstd
/// hold S floats. `views` and `out` do not overlap.
void fuse_row(const float* const* views, int64_t scales, ConstMat weight, float eps, float* alpha,
              float* rstd, float* out);

/// From d_out: d_views[s] assigned (where views[s] is not null) and d_weight += …; alpha and rstd
/// as fuse_row left them.
void fuse_row_backward(const float* const* views, int64_t scales, ConstMat weight,
                       const float* alpha, const float* rstd, const float* d_out,
                       float* const* d_views, Mat d_weight);

/// Fusion without a gate: out = Σ u_s. alpha becomes each view's share of Σ rms(u), which says how
/// much a scale contributes (all 0 where every view is); its gradient is d_out for every view.
void sum_row(const float* const* views, int64_t scales, int64_t d, float* alpha, float* out);

/// The most scales that a model may have.
inline constexpr int64_t kMaxScales = 16;

}  // namespace axl
