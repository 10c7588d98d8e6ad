#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/model/model.h"
#include "axl/train/config.h"
#include "axl/train/optimizer.h"
#include "axl/train/table_optimizer.h"

namespace axl {

/// Loss, gradient or weights are no longer finite numbers.
class Diverged : public Error {
 public:
  using Error::Error;
};

/// A model and all the memory that training it takes; makes one update.
class Learner {
 public:
  /// The weights are initialised from the seed. Throws UsageError or Error.
  explicit Learner(const Config& config);

  struct Rates {
    double lr, table_lr;
  };
  struct Step {
    Model::Loss loss;
    double gradient_norm = 0;  ///< before clipping
  };
  /// Forward, backward, update number `step`, counted from 1, on whole sequences of max_seq_len.
  /// With train.update_in_backward each part of the model is updated as soon as its gradient is
  /// final: the same weights bit for bit, and gradients of one part at a time in memory.
  /// Throws Diverged where loss or gradient are not finite; then no weight has become so, but with
  /// update_in_backward some have been updated already, and the model is to be thrown away.
  Step step(std::span<const int32_t> ids, std::span<const int32_t> targets, const Rates& rates,
            int64_t step);

  Model& model() { return model_; }
  const Model& model() const { return model_; }
  Activations& activations() { return activations_; }
  const Activations& activations() const { return activations_; }
  std::vector<OptimizerState> optimizer_state() const;
  /// Throws Diverged unless all weights and optimizer states are finite.
  void require_finite_weights(int64_t step) const;

 private:
  class PartUpdate;
  double gradient_scale(double norm) const;
  [[noreturn]] void fail_diverged(const std::string& what, int64_t step) const;

  TrainConfig config_;
  Model model_;
  Buffer gradients_;  ///< of all dense parameters, or of the largest part
  Weights gradient_weights_;
  Activations activations_;
  std::unique_ptr<Optimizer> optimizer_;
  TableOptimizer table_optimizer_;
};

/// What train.precision comes to on this machine. Throws UsageError where it has no bf16 but was
/// asked for it.
Precision training_precision(const TrainConfig& config);
/// What a step keeps for backward.
Activations::Mode activations_mode(const TrainConfig& config);
/// What the model keeps its matrices in.
ElementType matrices_type(const TrainConfig& config);
/// Options of the configured optimizer.
OptimizerOptions optimizer_options(const TrainConfig& config);
/// Floats of gradients that training holds at once.
int64_t gradient_floats(const ModelConfig& model, const TrainConfig& train);

}  // namespace axl
