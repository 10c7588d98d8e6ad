#include "muon.h"

#include <algorithm>
#include <cmath>

#include "axl/kernels/gemm.h"

namespace axl {

void AdamMoments::update(const UpdatePart& part, const UpdateRate& rate) {
  const float b1 = options_.beta1, b2 = options_.beta2, eps = options_.eps;
  const float scale = rate.gradient_scale;
  const float lr = rate.lr / (1.0 - std::pow(options_.beta1, rate.step));
  const float unbias = 1.0 / std::sqrt(1.0 - std::pow(options_.beta2, rate.step));
  chunks_.for_each(part, table_, rate.lr * options_.weight_decay,
                   [&](const UpdateChunk& chunk, int64_t number, const float* g, float keep) {
                     float* w = part.values[chunk.parameter].f32 + chunk.begin;
                     float *m = memory_.floats() + places_[number], *v = m + count_;
#pragma omp simd
                     for (int64_t i = 0; i < chunk.count; ++i) {
                       const float gi = scale * g[i];
                       m[i] = b1 * m[i] + (1 - b1) * gi;
                       v[i] = b2 * v[i] + (1 - b2) * gi * gi;
                       w[i] = w[i] * keep - lr * m[i] / (std::sqrt(v[i]) * unbias + eps);
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
    : Optimizer(table),
      options_(options),
      rest_(options, table, [](const Parameter& p) { return !is_muon_matrix(p); }) {
  for (size_t i = 0; i < table.size(); ++i) {
    const Parameter& p = table[i];
    if (!is_muon_matrix(p)) continue;
    matrices_.push_back({static_cast<int64_t>(i), momentum_count_});
    momentum_count_ += p.size();
    const int64_t small = std::min(p.rows, p.cols);
    scratch_floats_ = std::max(scratch_floats_, 2 * p.size() + 2 * small * small);
  }
  momentum_ = Buffer(sizeof(float) * momentum_count_);
  scratch_ = Buffer(sizeof(float) * scratch_floats_ * max_threads());
}

void Muon::update(const UpdatePart& part, const UpdateRate& rate) {
  AXL_CHECK(sizeof(float) * scratch_floats_ * max_threads() <= scratch_.bytes());
  rest_.update(part, rate);
  const auto at = [&](int64_t parameter) {
    return std::partition_point(matrices_.begin(), matrices_.end(),
                                [&](const Matrix& m) { return m.parameter < parameter; });
  };
  const auto first = at(part.range.first), end = at(part.range.end);
  const int64_t origin = table_[part.range.first].offset;
  // Matrices are independent: a thread takes one whole, which keeps it in that core's cache.
  parallel_for_dynamic(end - first, [&](int64_t i) {
    const Matrix& matrix = first[i];
    update_matrix(matrix, part.values[matrix.parameter].f32,
                  part.gradients + (table_[matrix.parameter].offset - origin), rate,
                  scratch_.floats() + thread_index() * scratch_floats_);
  });
}

void Muon::update_matrix(const Matrix& matrix, float* w, const float* g, const UpdateRate& rate,
                         float* scratch) {
  const Parameter& p = table_[matrix.parameter];
  const int64_t small = std::min(p.rows, p.cols), large = std::max(p.rows, p.cols);
  const bool tall = p.rows > p.cols;  // the iteration wants rows <= cols
  Mat x(scratch, small, large), y(scratch + p.size(), small, large);
  Mat a(scratch + 2 * p.size(), small, small), b(a.data + small * small, small, small);

  const float mu = static_cast<float>(options_.momentum);
  const float scale = static_cast<float>(rate.gradient_scale);
  float* m = momentum_.floats() + matrix.place;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t c = 0; c < p.cols; ++c) {
      const int64_t i = r * p.cols + c;
      m[i] = mu * m[i] + scale * g[i];
      (tall ? x(c, r) : x(r, c)) = scale * g[i] + mu * m[i];  // Nesterov
    }
  }
  orthogonalise(x, a, b, y, options_.precision);
  const double decay = decays(options_, p) ? rate.lr * options_.weight_decay : 0;
  const float keep = static_cast<float>(1 - decay);
  const float lr = static_cast<float>(rate.lr * 0.2 * std::sqrt(static_cast<double>(large)));
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t c = 0; c < p.cols; ++c) {
      float& weight = w[r * p.cols + c];
      weight = weight * keep - lr * (tall ? x(c, r) : x(r, c));
    }
}

std::vector<OptimizerState> Muon::state() {
  std::vector<OptimizerState> all = rest_.state();
  all.push_back({"muon_momentum", momentum_.floats(), momentum_count_});
  return all;
}

}  // namespace axl
