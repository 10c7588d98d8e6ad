#pragma once

#include "axl/tensor/arena.h"
#include "axl/train/optimizer.h"
#include "update_chunks.h"

namespace axl {

/// AdamW (arXiv:1711.05101) over some of a model's parameters.
class AdamMoments {
 public:
  template <class Chosen>
  AdamMoments(const OptimizerOptions& options, std::span<const Parameter> table,
              const Chosen& chosen)
      : table_(table.begin(), table.end()), options_(options), chunks_(options, table, chosen) {
    for (const UpdateChunk& c : chunks_.all()) places_.push_back(count_), count_ += c.count;
    memory_ = Buffer(2 * sizeof(float) * count_);
  }

  /// m ← β1·m + (1−β1)·g, v ← β2·v + (1−β2)·g², w ← keep·w − lr·m̂ / (√v̂ + ε).
  void update(const UpdatePart& part, const UpdateRate& rate);
  std::vector<OptimizerState> state();

 private:
  std::vector<Parameter> table_;
  OptimizerOptions options_;
  UpdateChunks chunks_;
  std::vector<int64_t> places_;  ///< of each chunk's moments
  int64_t count_ = 0;
  Buffer memory_;  ///< all m, then all v
};

/// What Muon orthogonalises: the matrices between embedding and output.
bool is_muon_matrix(const Parameter& p);

/// Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): Nesterov momentum whose
/// matrix is orthogonalised before it is applied; AdamW for the rest. Updates are scaled by
/// 0.2·√max(rows, cols), which gives them AdamW's size (arXiv:2502.16982), so that one learning
/// rate serves both.
class Muon : public Optimizer {
 public:
  Muon(const OptimizerOptions& options, std::span<const Parameter> table);
  void update(const UpdatePart& part, const UpdateRate& rate) override;
  std::vector<OptimizerState> state() override;

 private:
  struct Matrix {
    int64_t parameter;
    int64_t place;  ///< of its momentum
  };
  void update_matrix(const Matrix& matrix, float* w, const float* g, const UpdateRate& rate,
                     float* scratch);

  OptimizerOptions options_;
  AdamMoments rest_;
  std::vector<Matrix> matrices_;  ///< in the order of the table
  int64_t momentum_count_ = 0, scratch_floats_ = 0;
  Buffer momentum_, scratch_;
};

}  // namespace axl
