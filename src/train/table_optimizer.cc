#include "axl/train/table_optimizer.h"

#include <algorithm>
#include <cmath>

#include "axl/base/parallel.h"

namespace axl {

TableOptimizer::TableOptimizer(const std::vector<Parameter>& table, int64_t max_rows) {
  for (size_t i = 0; i < table.size(); ++i) {
    const Parameter& p = table[i];
    if (p.role != Role::kTable) continue;
    tables_.push_back(p);
    numbers_.push_back(i);
    places_.push_back(count_);
    count_ += p.rows;
    sums_.emplace_back(p.cols);
    uses_.emplace_back().reserve(max_rows);
  }
  squares_ = Buffer(sizeof(float) * count_);
}

int64_t TableOptimizer::required_bytes(const std::vector<Parameter>& table, int64_t max_rows) {
  int64_t bytes = 0;
  for (const Parameter& p : table)
    if (p.role == Role::kTable) bytes += sizeof(float) * (p.rows + p.cols) + sizeof(Use) * max_rows;
  return bytes;
}

void TableOptimizer::update(std::span<const ParameterValues> values,
                            const Model::TableGradient& gradient, double lr) {
  parallel_for_dynamic(static_cast<int64_t>(tables_.size()), [&](int64_t t) {
    update_table(t, values[numbers_[t]].f32, gradient, static_cast<float>(lr));
  });
}

void TableOptimizer::update_table(size_t t, float* table, const Model::TableGradient& gradient,
                                  float lr) {
  constexpr float kEps = 1e-12f;
  const int64_t d = tables_[t].cols;
  std::vector<Use>& uses = uses_[t];
  uses.clear();
  for (int64_t r = 0; r < gradient.dx.rows; ++r)
    if (gradient.rows[t][r] >= 0) uses.push_back({gradient.rows[t][r], static_cast<int32_t>(r)});
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return a.row != b.row ? a.row < b.row : a.byte < b.byte;
  });

  float* sum = sums_[t].data();
  for (size_t i = 0; i < uses.size();) {
    const int32_t row = uses[i].row;
    std::fill_n(sum, d, 0.0f);
    for (; i < uses.size() && uses[i].row == row; ++i) {
      const float* g = gradient.dx.row(uses[i].byte);
      for (int64_t j = 0; j < d; ++j) sum[j] += g[j];
    }
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < d; ++j) squares += sum[j] * sum[j];
    float& total = squares_.floats()[places_[t] + row];
    total += squares / d;
    const float rate = lr / (std::sqrt(total) + kEps);
    float* w = table + row * d;
    for (int64_t j = 0; j < d; ++j) w[j] -= rate * sum[j];
  }
}

std::vector<OptimizerState> TableOptimizer::state() const {
  if (tables_.empty()) return {};
  return {{"table_squares", squares_.floats(), count_}};
}

}  // namespace axl
