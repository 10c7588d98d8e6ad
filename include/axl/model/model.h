#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "axl/model/activations.h"
#include "axl/model/config.h"
#include "axl/model/lookup.h"
#include "axl/model/recall.h"
#include "axl/model/weights.h"

namespace axl {

/// The parameters of a model that lie in somebody else's memory, read-only: a file's.
struct StoredParameters {
  std::vector<PackedMatrix> parameters;  ///< in the order of the parameter table
  std::vector<const uint32_t*> slots;    ///< of the recall memory, for each of its orders
  std::shared_ptr<const void> owner;     ///< keeps them alive
  Buffer memory;                         ///< of the matrices that products read
};

/// Follows a backward pass part by part (backward_parts): an optimizer may update a part as soon as
/// its gradients are final, and use their memory for the next.
class BackwardObserver {
 public:
  virtual ~BackwardObserver() = default;
  /// Gradients of the part are about to be added to. No other part has begun.
  virtual void begin(ParameterRange part) = 0;
  /// They are final, and the pass will not read the part's weights again.
  virtual void finish(ParameterRange part) = 0;
};

/// What the output matrix reads: the fused state of all scales, or the fine stack's own before any
/// cross-scale layer, without memories' votes. The latter is what a llama GGUF file holds.
enum class Head { kFused, kFine };

/// The multi-scale byte-level transformer: causal language model over 256 byte ids, BOS and EOS.
///
///   x₁ = E[ids];  x_s = W_down,s [x₁ of the group's s bytes]
///   h_s = a stack of pre-norm blocks per scale
///   h_t ← h_t + Σ_{s≠t} CrossBlock_{s→t}(h_t, h_s)      per cross-scale layer
///   fused = Σ_s α_s u_s,  u_s = W_up,s of the last token of scale s that has ended
///   logits = W_out RMSNorm(fused);  logits[i] predict byte i + 1
///
/// Everything is strictly causal: a token reads another, of any scale, only if that one ended no
/// later than itself.
class Model {
 public:
  /// Weights are zero until init() or a load. With kBF16 the matrices are kept in bf16, which only
  /// training asks for. Throws UsageError for an invalid configuration.
  explicit Model(const ModelConfig& config, ElementType matrices = ElementType::kF32);
  /// A model that reads its parameters where they are stored: for inference alone.
  Model(const ModelConfig& config, StoredParameters stored);

  /// Normal weights, σ 0.02 (output matrices of residual branches 0.02/√(2(L+C))); gains 1; gate 0.
  void init(uint64_t seed);

  const ModelConfig& config() const { return config_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t parameter_count() const { return axl::parameter_count(parameters_); }
  bool is_stored() const { return stored_.owner != nullptr; }
  /// Coded weights that no cache holds: another token in a pass that reads them costs less than one
  /// of a prompt.
  bool waits_for_memory() const;
  /// Rows up to which a pass takes little longer for each one more.
  static int64_t few_rows();
  /// Rows up to which each of a pass with a cache has the same bits, whichever come with it; no
  /// more than few_rows().
  int64_t rows_alike() const;
  /// parameter_count() floats, of a model that is neither stored nor in bf16.
  float* data() const {
    AXL_CHECK(!is_stored() && bf16_memory_.bytes() == 0);
    return memory_.floats();
  }
  /// All parameters of a model that is not stored: those in f32 and those in bf16, each one after
  /// another in the order of parameters().
  std::span<float> f32_values() const;
  std::span<uint16_t> bf16_values() const;
  /// Takes the weights of another model of the same parameters, which has them in f32.
  void assign(const Model& other);
  /// Where each parameter's values lie, in the order of parameters(); of a model that is not
  /// stored.
  std::span<const ParameterValues> values() const { return values_; }
  int64_t floats_of(ParameterRange range) const;
  /// A hash of configuration, parameters and recall memory: equal for equal models only.
  uint64_t checksum() const;
  const Weights& weights() const { return weights_; }
  /// The memory of what followed in the training files; empty unless configured.
  Recall& recall() { return recall_; }
  const Recall& recall() const { return recall_; }

  /// Runs the tokens that a.lay_out() announced, ids [R], and leaves a.states and, of the outputs,
  /// a.fused and a.fusion.alpha. With a cache, earlier tokens are read from it and the new ones
  /// added.
  void forward(std::span<const int32_t> ids, Activations& a, const Cache* cache = nullptr) const;

  /// a.logits [outputs, V] of the fused state, or of the fine stack alone, of which all bytes must
  /// be outputs.
  void logits(Activations& a) const {
    head(a.fused, a);
    add_votes(a);
  }
  void fine_logits(Activations& a) const { head(a.states[0][0], a); }
  void logits(Head of, Activations& a) const { of == Head::kFused ? logits(a) : fine_logits(a); }

  /// What a training pass over B whole sequences found.
  struct Loss {
    double nats = 0;       ///< mean cross-entropy of the logits over scored targets
    double fine_nats = 0;  ///< of the fine logits; 0 when their weight is 0
    double kl = 0;         ///< with a teacher: its mean divergence from the softened logits
    double fine_kl = 0;    ///< and from the fine ones
    int64_t scored = 0;    ///< targets
    /// What was differentiated, without a teacher.
    double total(double fine_weight) const { return nats + fine_weight * fine_nats; }
  };
  /// Forward, loss = nats + fine_weight · fine_nats (with a.soft_targets alpha T² kl + (1 − alpha)
  /// nats in place of each nats), and backward: adds to `grads`, the gradient's Weights. targets
  /// [R], negative where not scored; a must be planned for training. What the observer throws ends
  /// the pass.
  Loss forward_backward(std::span<const int32_t> ids, std::span<const int32_t> targets,
                        float fine_weight, Activations& a, const Weights& grads,
                        BackwardObserver* observer = nullptr) const;

  /// The gradient of the embedding tables after forward_backward, as the optimizer of rows wants
  /// it: byte r adds dx[r] to row rows[t][r] of table t. Valid until the next pass.
  struct TableGradient {
    std::span<int32_t* const> rows;  ///< [table] [R], -1 where a byte reads no row
    ConstMat dx;                     ///< [R, D]
  };
  static TableGradient table_gradient(const Activations& a) {
    return {a.lookup_rows, a.d_states[0].row_range(0, a.rows(0))};
  }

  /// Mean weight of each scale in the fusion of the last pass.
  static std::vector<double> mean_alpha(const Activations& a);

 private:
  Model(const ModelConfig& config, Recall recall);
  void embed(std::span<const int32_t> ids, Activations& a, const Cache* cache) const;
  void look_up(std::span<const int32_t> ids, Activations& a, const Cache* cache) const;
  void look_up_row(const int32_t* tokens, int64_t count, int64_t row, Activations& a) const;
  void look_up_repeats(std::span<const int32_t> tokens, int64_t row, Activations& a) const;
  void add_votes(Activations& a) const;
  template <class Body>
  void for_each_vote(const Activations& a, int64_t r, const Body& body) const;
  void votes_backward(Activations& a, const Weights& grads) const;
  void run_stack(int64_t scale, Activations& a, const Cache* cache) const;
  void run_cross(int64_t layer, Activations& a, const Cache* cache) const;
  void run_stacks_side_by_side(Activations& a, const Cache& cache) const;
  void run_cross_side_by_side(int64_t layer, Activations& a, const Cache& cache) const;
  void fuse(Activations& a, const Cache* cache) const;
  void head(ConstMat h, Activations& a) const;
  struct Gradients;
  /// The means of a.nll and a.kl over scored targets.
  struct HeadLoss {
    double nats = 0, kl = 0;
  };
  HeadLoss head_backward(ConstMat h, bool votes, std::span<const int32_t> targets, float scale,
                         Activations& a, Mat dh, const Weights& grads) const;
  void backward(std::span<const int32_t> ids, bool fine, Activations& a,
                const Gradients& grads) const;
  void fuse_backward(Activations& a, const Gradients& grads) const;
  void cross_backward(int64_t layer, Activations& a, const Gradients& grads) const;
  void stack_backward(int64_t scale, Activations& a, const Gradients& grads) const;
  void embed_backward(std::span<const int32_t> ids, Activations& a, const Gradients& grads) const;

  AttentionPlan stack_plan(int64_t scale, const Activations& a) const;
  AttentionPlan cross_plan(const Weights::Pair& pair, const std::vector<Segments>& targets,
                           const Activations& a) const;
  std::vector<ScaleView> scale_views(const Activations& a, const Cache* cache) const;

  ModelConfig config_;
  std::vector<Parameter> parameters_;
  std::vector<ParameterValues> values_;
  StoredParameters stored_;
  bool fits_in_cache_ = false;  ///< any core's last cache could hold what is stored
  Buffer memory_, bf16_memory_, rope_memory_;
  Weights weights_;
  RopeTable rope_;
  Recall recall_;
  std::vector<Lookup> lookups_;
};

/// Memory for one more set of the dense parameters: gradients, a moment of an optimizer.
struct ParameterBlock {
  explicit ParameterBlock(const ModelConfig& config);
  void zero();
  int64_t count;
  Buffer memory;
  Weights weights;
};

}  // namespace axl
