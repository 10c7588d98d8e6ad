#include "axl/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "axl/base/clock.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "axl/train/holdout.h"
#include "axl/train/recall_builder.h"
#include "axl/train/run_state.h"
#include "model_card.h"
#include "train_log.h"

namespace axl {
namespace {

bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

RunLimits run_limits(const TrainConfig& t) {
  return {t.steps, t.max_time.empty() ? 0.0 : parse_duration(t.max_time)};
}

Schedule make_schedule(const TrainConfig& t, double peak) {
  return {peak, t.warmup_steps, t.schedule == "cosine", t.min_lr_ratio};
}

}  // namespace

Config fitted(Config config, const Corpus& corpus) {
  config.validate();
  config.model.recall = fitted_recall(config.model.recall, corpus.bytes());
  config.model.fill_in_middle = config.train.fim_rate > 0;
  return config;
}

Trainer::Trainer(const Config& config, const Corpus& train, const Corpus* holdout)
    : config_(fitted(config, train)),
      corpus_(train),
      holdout_(holdout),
      learner_(config_),
      even_(config_.model.recall),
      odd_(config_.model.recall),
      schedule_(make_schedule(config_.train, config_.train.lr)),
      table_schedule_(make_schedule(config_.train, config_.train.table_lr)),
      limits_(run_limits(config_.train)),
      teacher_(config_.train.teacher.empty()
                   ? nullptr
                   : std::make_unique<Teacher>(config_.train, config_.model.max_seq_len,
                                               training_precision(config_.train))),
      sampler_(train, config_.model.max_seq_len, config_.train.batch_size, config_.train.seed,
               config_.train.fim_rate) {
  batch_.sequences = config.train.batch_size;
  batch_.length = config.model.max_seq_len;
  started_ = Clock::now();
}

TrainResult Trainer::run(const std::filesystem::path& dir, const TrainCallbacks& call) {
  started_ = Clock::now();
  if (!remember_corpus(call)) return result(true);
  TrainLog log(dir / kLogFile, config_.model, step_);
  const TrainResult done = train(call, [&](const StepReport& report) {
    log.append(report);
    if (due(step_, config_.train.checkpoint_every)) save(dir, call);
  });
  save(dir, call);
  return done;
}

TrainResult Trainer::train(const TrainCallbacks& call) {
  started_ = Clock::now();
  if (!remember_corpus(call)) return result(true);
  return train(call, [](const StepReport&) {});
}

TrainResult Trainer::train(const TrainCallbacks& call,
                           const std::function<void(const StepReport&)>& keep) {
  bool stopped = false;
  while (!stopped && limits_.progress(step_, elapsed()) < 1.0) {
    StepReport report = train_step();
    stopped = call.should_stop && call.should_stop();
    if (due(step_, config_.train.eval_every)) report.holdout_bpb = evaluate();
    keep(report);
    if (call.on_step) call.on_step(report);
    warn_about_dead_scales(report, call);
  }
  if (!stopped) holdout_bpb_ = evaluate();
  return result(stopped);
}

TrainResult Trainer::result(bool stopped) const {
  return {.steps = step_,
          .bytes = static_cast<uint64_t>(step_ * step_bytes()),
          .seconds = elapsed(),
          .loss = recent_loss_,
          .holdout_bpb = holdout_bpb_,
          .alpha = alpha_,
          .stopped = stopped};
}

// The memory is a function of the corpus alone, so a resumed run makes it again. False when it was
// stopped: a step with half a memory would not be the step of an undisturbed run.
bool Trainer::remember_corpus(const TrainCallbacks& call) {
  if (even_.empty()) return true;
  if (corpus_.documents() < 2 && call.on_warning)
    call.on_warning(
        "the data is a single document: nothing can be recalled from others, so the model will not "
        "learn to use its recall memory (give several files, or leave model.recall out)");
  even_ = Recall(config_.model.recall);
  odd_ = Recall(config_.model.recall);
  const auto progress = [&](uint64_t done, uint64_t all) {
    if (call.on_recall) call.on_recall(done, all);
    return call.should_stop && call.should_stop();
  };
  if (!build_recall(corpus_, even_, odd_, config_.train.recall_bytes, progress)) return false;
  Recall& recall = learner_.model().recall();
  recall = Recall(config_.model.recall);
  recall.merge(even_);
  recall.merge(odd_);
  return true;
}

StepReport Trainer::train_step() {
  const Clock::time_point begin = Clock::now();
  const double done = limits_.progress(step_, elapsed());
  const double lr = schedule_.learning_rate(step_, done);
  const double table_lr = table_schedule_.learning_rate(step_, done);
  sampler_.fill(step_, batch_);
  Activations& activations = learner_.activations();
  activations.cross_fit = {batch_.odd, &odd_, &even_};
  if (teacher_) activations.soft_targets = teacher_->predict(batch_);
  const Learner::Step made = learner_.step(batch_.ids, batch_.targets, {lr, table_lr}, step_ + 1);
  activations.cross_fit = {};
  activations.soft_targets = {};
  ++step_;

  recent_loss_ = step_ == 1 ? made.loss.nats : 0.95 * recent_loss_ + 0.05 * made.loss.nats;
  alpha_ = Model::mean_alpha(activations);
  const double progress = limits_.progress(step_, elapsed()), seconds = elapsed();
  return {.step = step_,
          .bytes = static_cast<uint64_t>(step_ * step_bytes()),
          .loss = made.loss.nats,
          .fine_loss = made.loss.fine_nats,
          .teacher_kl = made.loss.kl,
          .learning_rate = lr,
          .gradient_norm = made.gradient_norm,
          .bytes_per_s = step_bytes() / seconds_since(begin),
          .seconds = seconds,
          .seconds_left = progress > 0 ? seconds * (1 - progress) / progress : 0,
          .progress = progress,
          .alpha = alpha_};
}

double Trainer::elapsed() const { return earlier_seconds_ + seconds_since(started_); }

void Trainer::warn_about_dead_scales(const StepReport& report, const TrainCallbacks& call) {
  constexpr double kDead = 0.01;
  if (warned_about_scales_ || !call.on_warning) return;
  for (size_t s = 0; s < report.alpha.size(); ++s) {
    if (report.alpha[s] >= kDead) continue;
    warned_about_scales_ = true;
    call.on_warning(
        format("step {}: the gate gives scale {} a mean weight of {:.4f}: the model "
               "hardly uses it any more",
               report.step, config_.model.downsample_factors[s], report.alpha[s]));
  }
}

std::optional<double> Trainer::evaluate() {
  if (!holdout_) return std::nullopt;
  holdout_bpb_ =
      holdout_bits_per_byte(model(), *holdout_, config_.train.eval_bytes, learner_.activations());
  return holdout_bpb_;
}

double Trainer::measure_step() {
  train_step();  // touches all memory and lets the products set up
  double best = 1e300;
  for (int i = 0; i < 2; ++i) best = std::min(best, step_bytes() / train_step().bytes_per_s);
  return best;
}

void Trainer::start_from(const Model& from) {
  if (from.is_stored())
    throw UsageError(
        "--init: a quantised model cannot be trained on; give the one it was made from");
  ModelConfig other = from.config();
  other.recall.bits = model().config().recall.bits;        // its memory is counted anew anyway
  other.fill_in_middle = model().config().fill_in_middle;  // says how this run trains it
  if (other != model().config())
    throw UsageError(format("--init: that model's configuration is {}, but the run's is {}",
                            to_json(from.config()), to_json(model().config())));
  learner_.model().assign(from);
}

bool Trainer::resume(const std::filesystem::path& dir) {
  if (!std::filesystem::exists(dir / kStateFile)) return false;
  const RunState state =
      load_run_state(dir, learner_.model(), learner_.optimizer_state(), config_.train.optimizer);
  const auto seed = static_cast<uint64_t>(config_.train.seed);
  const std::string begin_anew = format("or begin a new run with --init {}", dir.string());
  if (state.seed != seed)
    throw Error(format("{}: the run was begun with seed {}, not {}; resume it with that seed, {}",
                       dir.string(), state.seed, seed, begin_anew));
  if (state.corpus_fingerprint != corpus_.fingerprint())
    throw Error(
        format("{}: the run was trained on other files than given now, or they have changed; "
               "resume it with the same data, {}",
               dir.string(), begin_anew));
  if (state.teacher != (teacher_ ? teacher_->checksum() : 0))
    throw Error(
        format("{}: the run learned from another teacher than train.teacher names now ('{}'), or "
               "that has changed; resume it with its own, {}",
               dir.string(), config_.train.teacher, begin_anew));
  step_ = state.step;
  earlier_seconds_ = state.seconds;
  recent_loss_ = state.recent_loss;
  return true;
}

void Trainer::save(const std::filesystem::path& dir, const TrainCallbacks& call) {
  learner_.require_finite_weights(step_);
  const RunState state{.step = step_,
                       .seconds = elapsed(),
                       .recent_loss = recent_loss_,
                       .seed = static_cast<uint64_t>(config_.train.seed),
                       .corpus_fingerprint = corpus_.fingerprint(),
                       .teacher = teacher_ ? teacher_->checksum() : 0,
                       .optimizer = config_.train.optimizer};
  save_run_state(dir, state, model(), learner_.optimizer_state());
  save_model(model(), dir, {{"axl_step", format("{}", step_)}});
  write_model_card(dir);
  if (call.on_save) call.on_save();
}

void Trainer::write_model_card(const std::filesystem::path& dir) const {
  write_text(dir / "README.md", model_card(config_, model(), corpus_, result(false)));
}

}  // namespace axl
