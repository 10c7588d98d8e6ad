#pragma once

#include <cstdint>

#include "block_kernels.h"

/// The inner loops of all element-wise kernels: each over n floats in a row, on the calling thread.
/// row_kernels.cc is compiled once per instruction set; which of them runs is chosen at run time.
/// Nothing here may be defined inline: whoever includes it would share it with code compiled for
/// other CPUs.
namespace axl {

/// Rows of floats or of bytes, `stride` apart.
template <class T>
struct RowsOf {
  const T* data;
  int64_t stride, rows;
};
using Rows = RowsOf<float>;
using ByteRows = RowsOf<int8_t>;

struct RowKernels {
  const char* isa;  ///< what the functions were compiled for, said by the compiler's own macros

  const BlockKernels* blocks;  ///< for the same instruction set

  /// y += x.
  void (*add)(const float* x, float* y, int64_t n);
  /// y += a · x.
  void (*add_scaled)(float a, const float* x, float* y, int64_t n);
  /// Σ x·y.
  float (*dot)(const float* x, const float* y, int64_t n);
  /// out[i][j] = scale · x_i·y_j of rows of d floats. Each is summed in the same order, whatever
  /// rows come with it.
  void (*dots)(Rows x, Rows y, int64_t d, float scale, float* out, int64_t out_stride);
  void (*byte_dots)(Rows x, ByteRows y, int64_t d, float scale, float* out, int64_t out_stride);
  /// out_i = Σ_j p[i][j] · y_j for rows y_j of d floats; summed likewise.
  void (*weighted_sums)(Rows p, Rows y, int64_t d, float* out, int64_t out_stride);
  void (*weighted_byte_sums)(Rows p, ByteRows y, int64_t d, float* out, int64_t out_stride);
  /// y = x / s, rounded to the nearest integer, the largest magnitude to 127. Returns s, which is
  /// NaN where x has a NaN or an infinity.
  float (*to_bytes)(const float* x, int8_t* y, int64_t n);
  /// y = y · x.
  void (*multiply)(const float* x, float* y, int64_t n);
  /// Σ x², in double.
  double (*sum_of_squares)(const float* x, int64_t n);

  /// x = scale · e^(x − shift). The exponential's relative error is below 3e-7 on [−87, 88]; it is
  /// clamped outside.
  void (*scaled_exp)(float* x, float shift, float scale, int64_t n);
  /// log Σ e^x, the maximum taken out so that nothing overflows. NaN and infinity come through.
  float (*log_sum_exp)(const float* x, int64_t n);
  /// x = e^x / Σ e^x, n >= 1. Returns log Σ e^x.
  float (*softmax)(float* x, int64_t n);

  /// y = x · rstd · gain. y may be x.
  void (*rms_norm_again)(const float* x, const float* gain, float rstd, float* y, int64_t n);
  /// The same with rstd = 1/√(mean(x²) + eps), which it returns.
  float (*rms_norm)(const float* x, const float* gain, float eps, float* y, int64_t n);
  /// dx += ∂L/∂x, dgain += ∂L/∂gain.
  void (*rms_norm_backward)(const float* x, const float* gain, float rstd, const float* dy,
                            float* dx, float* dgain, int64_t n);
  /// du = rstd · du − u · pull + a · d_out: du through û = u · rstd, beside what u itself adds.
  void (*unit_rms_backward)(const float* u, float rstd, float pull, float a, const float* d_out,
                            float* du, int64_t n);

  /// act = silu(gate) · up.
  void (*swiglu)(const float* gate, const float* up, float* act, int64_t n);
  /// d_gate and d_up from d, the gradient of act; d becomes act again.
  void (*swiglu_backward)(const float* gate, const float* up, float* d, float* d_gate, float* d_up,
                          int64_t n);

  /// Turns the n pairs (x[2i], x[2i+1]) by the angle of cos[i] and sign · sin[i].
  void (*rope)(float* x, const float* cos, const float* sin, float sign, int64_t n);
};

/// The kernels that were chosen: see kernel_isa().
const RowKernels& row_kernels();

extern const RowKernels kAvx2RowKernels, kAvx512RowKernels;

}  // namespace axl
