#include "axl/train/learner.h"

#include <cmath>

#include "axl/base/format.h"
#include "axl/tensor/half.h"

namespace axl {
Precision training_precision(const TrainConfig& t) {
  if (t.precision == "f32") return Precision::kF32;
  if (t.precision == "auto") return prefers_bf16() ? Precision::kBf16 : Precision::kF32;
  if (has_bf16()) return Precision::kBf16;
  throw UsageError(
      "train.precision is bf16, but this CPU has no AVX512_BF16 (or AXL_ISA or ONEDNN_MAX_CPU_ISA "
      "hides it); set it to f32 or auto");
}

Activations::Mode activations_mode(const TrainConfig& t) {
  return t.recompute ? Activations::Mode::kRecompute : Activations::Mode::kTraining;
}

ElementType matrices_type(const TrainConfig& t) {
  return t.weights_dtype == "bf16" ? ElementType::kBF16 : ElementType::kF32;
}

OptimizerOptions optimizer_options(const TrainConfig& t) {
  return {.name = t.optimizer,
          .beta1 = t.betas[0],
          .beta2 = t.betas[1],
          .momentum = t.momentum,
          .weight_decay = t.weight_decay,
          .precision = training_precision(t),
          .bf16_momentum = t.momentum_dtype == "bf16",
          .seed = static_cast<uint64_t>(t.seed)};
}

int64_t gradient_floats(const ModelConfig& model, const TrainConfig& train) {
  if (train.update_in_backward) return floats_of_largest_part(model);
  const std::vector<Parameter> table = parameter_table(model);
  return parameter_count(dense_part(table));
}

/// Updates each part as soon as backward is done with it.
class Learner::PartUpdate : public BackwardObserver {
 public:
  PartUpdate(Learner& learner, const UpdateRate& rate) : learner_(learner), rate_(rate) {}

  void begin(ParameterRange part) override {
    set_zero(learner_.gradients_.floats(), learner_.model_.floats_of(part));
  }
  void finish(ParameterRange part) override {
    const float* g = learner_.gradients_.floats();
    squares_ += sum_of_squares(g, learner_.model_.floats_of(part));
    if (!std::isfinite(squares_)) learner_.fail_diverged("a gradient is not finite", rate_.step);
    learner_.optimizer_->update({part, learner_.model_.values(), g}, rate_);
  }
  double norm() const { return std::sqrt(squares_); }

 private:
  Learner& learner_;
  UpdateRate rate_;
  double squares_ = 0;
};

Learner::Learner(const Config& config)
    : config_(config.train),
      model_(config.model, matrices_type(config.train)),
      gradients_(sizeof(float) * gradient_floats(config.model, config.train)),
      gradient_weights_(config.model),
      activations_(config.model, config.train.batch_size * config.model.max_seq_len,
                   activations_mode(config.train), matrices_type(config.train)),
      optimizer_(make_optimizer(optimizer_options(config.train), model_.parameters())),
      table_optimizer_(model_.parameters(), activations_.max_rows()) {
  if (config_.update_in_backward)
    gradient_weights_.bind_parts(gradients_.floats());
  else
    gradient_weights_.bind(gradients_.floats(), false);
  activations_.scratch.precision = training_precision(config_);
  model_.init(config_.seed);
}

// One update, as in the papers: forward and backward, clip, update.
Learner::Step Learner::step(std::span<const int32_t> ids, std::span<const int32_t> targets,
                            const Rates& rates, int64_t step) {
  const int64_t length = model_.config().max_seq_len;
  activations_.lay_out(whole_sequences(static_cast<int64_t>(ids.size()) / length, length));
  Step done;
  UpdateRate rate{.lr = rates.lr, .step = step};
  PartUpdate update_part(*this, rate);
  const bool in_backward = config_.update_in_backward;
  const int64_t count = gradients_.bytes() / sizeof(float);

  if (!in_backward) set_zero(gradients_.floats(), count);
  done.loss = model_.forward_backward(ids, targets, static_cast<float>(config_.fine_loss_weight),
                                      activations_, gradient_weights_,
                                      in_backward ? &update_part : nullptr);
  done.gradient_norm =
      in_backward ? update_part.norm() : std::sqrt(sum_of_squares(gradients_.floats(), count));
  if (!std::isfinite(done.loss.total(config_.fine_loss_weight)) ||
      !std::isfinite(done.gradient_norm))
    fail_diverged(
        format("the loss is {}, the gradient's norm {}", done.loss.nats, done.gradient_norm), step);
  if (!in_backward) {
    rate.gradient_scale = gradient_scale(done.gradient_norm);
    const ParameterRange all{0, static_cast<int64_t>(dense_part(model_.parameters()).size())};
    optimizer_->update({all, model_.values(), gradients_.floats()}, rate);
  }
  table_optimizer_.update(model_.values(), Model::table_gradient(activations_), rates.table_lr);
  return done;
}

std::vector<OptimizerState> Learner::optimizer_state() const {
  std::vector<OptimizerState> all = optimizer_->state();
  for (const OptimizerState& s : table_optimizer_.state()) all.push_back(s);
  return all;
}

double Learner::gradient_scale(double norm) const {
  const double limit = config_.grad_clip;
  return limit > 0 && norm > limit ? limit / norm : 1.0;
}

void Learner::fail_diverged(const std::string& what, int64_t step) const {
  const char* weights = config_.update_in_backward ? "This step's weights were not saved"
                                                   : "The weights were not changed by this step";
  throw Diverged(
      format("training diverged at step {}: {}. {} and the last saved state is intact. Try a lower "
             "learning rate (train.lr is {}), a longer warm-up (train.warmup_steps is {}) or "
             "clipping (train.grad_clip is {})",
             step, what, weights, config_.lr, config_.warmup_steps, config_.grad_clip));
}

// What would not load again must not replace what does. The loss alone does not tell: it was taken
// before the last update, and a moment may overflow where its gradient did not.
void Learner::require_finite_weights(int64_t step) const {
  const std::span<const float> f32 = model_.f32_values();
  bool finite = std::isfinite(sum_of_squares(f32.data(), f32.size())) &&
                bf16_are_finite(model_.bf16_values());
  for (const OptimizerState& s : optimizer_state())
    finite = finite && (s.bf16 ? bf16_are_finite({s.bf16, static_cast<size_t>(s.count)})
                               : std::isfinite(sum_of_squares(s.data, s.count)));
  if (finite) return;
  throw Diverged(
      format("training diverged at step {}: weights or momentum are no longer finite. They were "
             "not saved and the last saved state is intact. Try a lower learning rate (train.lr "
             "is {}) or clipping (train.grad_clip is {})",
             step, config_.lr, config_.grad_clip));
}

}  // namespace axl
