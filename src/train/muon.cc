#include "muon.h"

#include <cmath>

#include "axl/kernels/gemm.h"

namespace axl {

void AdamMoments::update(float* w, const float* g, double lr, double gradient_scale, int64_t step) {
  const float b1 = options_.beta1, b2 = options_.beta2, eps = options_.eps, scale = gradient_scale;
  const float rate = lr / (1.0 - std::pow(options_.beta1, step));
  const float unbias = 1.0 / std::sqrt(1.0 - std::pow(options_.beta2, step));
  const double decay = lr * options_.weight_decay;
  parallel_for(static_cast<int64_t>(chunks_.size()), [&](int64_t c) {
    const UpdateChunk chunk = chunks_[c];
    const float keep = chunk.decays ? static_cast<float>(1.0 - decay) : 1.0f;
    float *m = memory_.floats() + places_[c], *v = m + count_, *wc = w + chunk.begin;
    const float* gc = g + chunk.begin;
#pragma omp simd
    for (int64_t i = 0; i < chunk.count; ++i) {
      const float gi = scale * gc[i];
      m[i] = b1 * m[i] + (1 - b1) * gi;
      v[i] = b2 * v[i] + (1 - b2) * gi * gi;
      wc[i] = wc[i] * keep - rate * m[i] / (std::sqrt(v[i]) * unbias + eps);
    }
  });
}

std::vector<OptimizerState> AdamMoments::state() {
  return {{"adam_m", memory_.floats(), count_}, {"adam_v", memory_.floats() + count_, count_}};
}

bool is_muon_matrix(const Parameter& p) {
  return p.role == Role::kMatrix || p.role == Role::kResidualOutput;
}

// Quintic iteration x ← a·x + (b·xxᵀ + c·(xxᵀ)²) x with Jordan's coefficients, from a start of
// Frobenius norm 1; five steps bring singular values into about [0.7, 1.2].
void orthogonalise(Mat x, Mat a, Mat b, Mat y, Precision precision) {
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  constexpr int kSteps = 5;
  double squares = 0;
  for (int64_t i = 0; i < x.size(); ++i) squares += double(x.data[i]) * x.data[i];
  const float scale = static_cast<float>(1.0 / (std::sqrt(squares) + 1e-12));
  for (int64_t i = 0; i < x.size(); ++i) x.data[i] *= scale;

  for (int step = 0; step < kSteps; ++step) {
    gemm_serial(Trans::kNo, x, Trans::kYes, x, a, Write::kAssign, 1.0f, precision);
    for (int64_t i = 0; i < a.size(); ++i) b.data[i] = kB * a.data[i];
    gemm_serial(Trans::kNo, a, Trans::kNo, a, b, Write::kAdd, kC, precision);
    for (int64_t i = 0; i < x.size(); ++i) y.data[i] = kA * x.data[i];
    gemm_serial(Trans::kNo, b, Trans::kNo, x, y, Write::kAdd, 1.0f, precision);
    std::copy_n(y.data, y.size(), x.data);
  }
}

Muon::Muon(const OptimizerOptions& options, std::span<const Parameter> table)
    : options_(options),
      rest_(options, table, [](const Parameter& p) { return !is_muon_matrix(p); }) {
  for (const Parameter& p : table) {
    if (!is_muon_matrix(p)) continue;
    matrices_.push_back({p, momentum_count_});
    momentum_count_ += p.size();
    const int64_t small = std::min(p.rows, p.cols);
    scratch_floats_ = std::max(scratch_floats_, 2 * p.size() + 2 * small * small);
  }
  momentum_ = Buffer(sizeof(float) * momentum_count_);
  scratch_ = Buffer(sizeof(float) * scratch_floats_ * max_threads());
}

void Muon::update(float* w, const float* g, double lr, double gradient_scale, int64_t step) {
  AXL_CHECK(sizeof(float) * scratch_floats_ * max_threads() <= scratch_.bytes());
  rest_.update(w, g, lr, gradient_scale, step);
  // Matrices are independent: a thread takes one whole, which keeps it in that core's cache.
  parallel_for_dynamic(static_cast<int64_t>(matrices_.size()), [&](int64_t i) {
    update_matrix(matrices_[i], w, g, lr, static_cast<float>(gradient_scale),
                  scratch_.floats() + thread_index() * scratch_floats_);
  });
}

void Muon::update_matrix(const Matrix& matrix, float* w, const float* g, double lr, float scale,
                         float* scratch) {
  const Parameter& p = matrix.parameter;
  const int64_t small = std::min(p.rows, p.cols), large = std::max(p.rows, p.cols);
  const bool tall = p.rows > p.cols;  // the iteration wants rows <= cols
  Mat x(scratch, small, large), y(scratch + p.size(), small, large);
  Mat a(scratch + 2 * p.size(), small, small), b(a.data + small * small, small, small);

  const float mu = static_cast<float>(options_.momentum);
  float* m = momentum_.floats() + matrix.place;
  g += p.offset, w += p.offset;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t c = 0; c < p.cols; ++c) {
      const int64_t i = r * p.cols + c;
      m[i] = mu * m[i] + scale * g[i];
      (tall ? x(c, r) : x(r, c)) = scale * g[i] + mu * m[i];  // Nesterov
    }
  }
  orthogonalise(x, a, b, y, options_.precision);
  const float keep = decays(options_, p) ? static_cast<float>(1 - lr * options_.weight_decay) : 1;
  const float rate = static_cast<float>(lr * 0.2 * std::sqrt(static_cast<double>(large)));
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t c = 0; c < p.cols; ++c) {
      float& weight = w[r * p.cols + c];
      weight = weight * keep - rate * (tall ? x(c, r) : x(r, c));
    }
}

std::vector<OptimizerState> Muon::state() {
  std::vector<OptimizerState> all = rest_.state();
  all.push_back({"muon_momentum", momentum_.floats(), momentum_count_});
  return all;
}

}  // namespace axl
