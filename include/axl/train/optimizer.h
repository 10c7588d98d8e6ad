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
  bool bf16_momentum = false;             ///< lion and sgd
  uint64_t seed = 0;                      ///< of what is rounded to bf16
};

/// A named piece of an optimizer's memory, for checkpoints.
struct OptimizerState {
  std::string name;
  float* data;  ///< null where it is kept in bf16
  int64_t count;
  uint16_t* bf16 = nullptr;
};

/// Neighbours in the parameter table whose gradients are known.
struct UpdatePart {
  ParameterRange range;
  std::span<const ParameterValues> values;  ///< of the whole table
  const float* gradients;                   ///< of the range's, one after another
};

/// How large a step is.
struct UpdateRate {
  double lr;
  double gradient_scale = 1;  ///< gradients count so many times (clipping)
  int64_t step = 1;           ///< counts updates from 1
};

/// Turns gradients into a change of the weights. Where lion and sgd keep weights or momentum in
/// bf16 they compute in f32 and round stochastically: a step changes a weight by less than half of
/// its last bit mostly, and momentum decays so slowly, that rounding to the nearest would lose it,
/// always in the same way; the mean of what is rounded stochastically is exact. The noise is a hash
/// of seed, step and the element's place: of nothing that differs between runs or numbers of
/// threads. No parameter's update depends on another's, so that a step may update part after part,
/// in any order; work is spread over threads without changing the result.
class Optimizer {
 public:
  explicit Optimizer(std::span<const Parameter> table) : table_(table.begin(), table.end()) {}
  virtual ~Optimizer() = default;

  /// The update of some parameters, once in each step.
  virtual void update(const UpdatePart& part, const UpdateRate& rate) = 0;
  /// That of all, whose f32 weights and gradients are blocks laid out by the parameter table.
  void update_all(float* weights, const float* gradients, const UpdateRate& rate);
  virtual std::vector<OptimizerState> state() = 0;

 protected:
  std::vector<Parameter> table_;
};

/// An optimizer of the dense part of a model's parameter table; embedding tables have their own
/// (table_optimizer.h). Throws UsageError for an unknown name.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const std::vector<Parameter>& table);
/// Bytes of memory that the optimizer of that name keeps for those parameters.
int64_t optimizer_bytes(const std::string& name, bool bf16_momentum,
                        std::span<const Parameter> table);

/// The Newton–Schulz iteration of Muon (Jordan et al. 2024): brings the singular values of x
/// [rows, cols] near 1, rows <= cols, and needs no more precision than bf16. a, b [rows, rows] and
/// y [rows, cols] are scratch; runs on the calling thread.
void orthogonalise(Mat x, Mat a, Mat b, Mat y, Precision precision = Precision::kF32);

}  // namespace axl
