#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "axl/model/weights.h"

namespace axl {

struct OptimizerOptions {
  std::string name = "lion";  ///< lion, adamw, sgd or muon
  double beta1 = 0.9, beta2 = 0.99;
  double eps = 1e-8;
  double momentum = 0.95;     ///< of sgd, and of muon's matrices
  double weight_decay = 0.0;  ///< decoupled, scaled by the learning rate
  bool decay_gains = false;   ///< also the 1-D parameters, as a plain loop over tensors would
  Precision precision = Precision::kF32;  ///< of muon's products
};

/// A named piece of an optimizer's memory, for checkpoints.
struct OptimizerState {
  std::string name;
  float* data;
  int64_t count;
};

/// Turns gradients into a change of the weights. Weights and gradients are flat blocks laid out by
/// the parameter table; work is spread over threads without changing the result.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// One update with learning rate `lr`; gradients count `gradient_scale` times (clipping).
  /// `step` counts updates from 1.
  virtual void update(float* weights, const float* gradients, double lr, double gradient_scale,
                      int64_t step) = 0;
  virtual std::vector<OptimizerState> state() = 0;
};

/// An optimizer of the dense part of a model's parameter table; embedding tables have their own
/// (table_optimizer.h). Throws UsageError for an unknown name.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const std::vector<Parameter>& table);
/// Floats of memory that the optimizer of that name keeps for those parameters.
int64_t optimizer_floats(const std::string& name, std::span<const Parameter> table);

/// The Newton–Schulz iteration of Muon (Jordan et al. 2024): brings the singular values of x
/// [rows, cols] near 1, rows <= cols, and needs no more precision than bf16. a, b [rows, rows] and
/// y [rows, cols] are scratch; runs on the calling thread.
void orthogonalise(Mat x, Mat a, Mat b, Mat y, Precision precision = Precision::kF32);

}  // namespace axl
