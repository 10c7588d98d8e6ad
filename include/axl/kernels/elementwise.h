#pragma once

#include <cstdint>
#include <span>

#include "axl/tensor/view.h"

/// Row-wise and element-wise kernels. All are parallel over rows, in blocks that depend on the
/// shape alone, so that results do not depend on the number of threads. Letters: R rows (tokens),
/// D width, F feed-forward width, V vocabulary.
namespace axl {

/// How many partial sums a gradient that is summed over rows is cut into.
inline constexpr int64_t kPartials = 32;

void fill(Mat x, float value);
/// The n floats from x on become 0.
void set_zero(float* x, int64_t n);
void copy(ConstMat from, Mat to);
/// Rounded to the nearest of 255 values, the largest magnitude of a row to ±127 times its scale. A
/// row with a NaN or an infinity becomes NaN.
void copy(ConstMat from, ScaledMat to);
/// y += x.
void add(ConstMat x, Mat y);
/// Σ x², in double.
double sum_of_squares(const float* x, int64_t n);

/// y = x · rstd · gain, rstd = 1/√(mean(x²) + eps) per row  (RMSNorm, arXiv:1910.07467).
/// x, y [R, D], gain [1, D], rstd [R]. y may alias x.
void rms_norm(ConstMat x, ConstMat gain, float eps, Mat y, float* rstd);
/// y as rms_norm wrote it, from its rstd.
void rms_norm_again(ConstMat x, ConstMat gain, const float* rstd, Mat y);
/// dx += ∂L/∂x, dgain += ∂L/∂gain for dy = ∂L/∂y. partials [kPartials, D] is scratch.
void rms_norm_backward(ConstMat x, ConstMat gain, const float* rstd, ConstMat dy, Mat dx, Mat dgain,
                       Mat partials);

/// act = silu(gate) · up  (SwiGLU, arXiv:2002.05202). gate_up [R, 2F]: gate in the left half.
void swiglu(ConstMat gate_up, Mat act);
/// From d_act [R, F]: d_gate_up [R, 2F]; d_act becomes act again. Nothing may alias.
void swiglu_backward(ConstMat gate_up, Mat d_act, Mat d_gate_up);

/// cos and sin of position · θ^(−2i/head_size): tables [positions, head_size / 2].
struct RopeTable {
  Mat cos, sin;
};
void fill_rope_table(double theta, RopeTable table);
/// Rotates the pairs (x[2i], x[2i+1]) of every head of x [R, heads · head_size] by the angle of the
/// row's position first + step · row  (RoPE, arXiv:2104.09864); backwards when `inverse`.
void rope(Mat x, const RopeTable& table, int64_t first, int64_t step, bool inverse);

/// Softmax cross-entropy. logits [R, V] become ∂(scale · Σ nll)/∂logits; nll[r] is −log p(target)
/// in nats, 0 where the target is negative (not scored).
void cross_entropy_backward(Mat logits, std::span<const int32_t> targets, float scale, float* nll);

/// What a teacher would predict, for a student to come near (arXiv:1503.02531).
struct SoftTargets {
  ConstMat logits;  ///< [R, V] of the teacher; without data there is none
  float temperature = 2, alpha = 0.7f;
};
/// The loss of a student, alpha T² KL(softmax(z/T) ‖ softmax(x/T)) + (1 − alpha) nll, x its logits
/// and z the teacher's: logits become its gradient like above; nll[r] and kl[r], the divergence
/// before alpha T², are 0 where the target is negative.
void distillation_backward(Mat logits, const SoftTargets& soft, std::span<const int32_t> targets,
                           float scale, float* nll, float* kl);
/// nll alone; logits are left as they are.
void cross_entropy(ConstMat logits, std::span<const int32_t> targets, float* nll);

/// out[r] = table[ids[r]].
void gather_rows(ConstMat table, std::span<const int32_t> ids, Mat out);
/// out[r] += table[ids[r]] where ids[r] is not negative.
void gather_add_rows(ConstMat table, std::span<const int32_t> ids, Mat out);
/// d_table[ids[r]] += d_out[r], in row order.
void scatter_add_rows(ConstMat d_out, std::span<const int32_t> ids, Mat d_table);

}  // namespace axl
