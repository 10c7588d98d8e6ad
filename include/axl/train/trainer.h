#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/data/corpus.h"
#include "axl/train/config.h"
#include "axl/train/learner.h"
#include "axl/train/schedule.h"
#include "axl/train/teacher.h"

namespace axl {

/// What a step did, for progress lines and logs.
struct StepReport {
  int64_t step = 0;    ///< updates done
  uint64_t bytes = 0;  ///< inputs seen
  double loss = 0;     ///< nats per target, of this step
  double fine_loss = 0;
  double teacher_kl = 0;  ///< divergence from the teacher's predictions, with a teacher
  double learning_rate = 0;
  double gradient_norm = 0;   ///< before clipping
  double bytes_per_s = 0;     ///< of this step
  double seconds = 0;         ///< of the whole run, earlier sessions included
  double seconds_left = 0;    ///< estimate
  double progress = 0;        ///< in [0, 1]
  std::vector<double> alpha;  ///< mean gate weight of each scale
  std::optional<double> holdout_bpb =
      std::nullopt;  ///< where this step was followed by an evaluation
};

struct TrainResult {
  int64_t steps = 0;
  uint64_t bytes = 0;
  double seconds = 0;
  double loss = 0;                    ///< mean of the last steps
  std::optional<double> holdout_bpb;  ///< at the end
  std::vector<double> alpha;
  bool stopped = false;  ///< by should_stop, before the end
};

/// How a run talks to whoever started it. Each may be null.
struct TrainCallbacks {
  std::function<bool()> should_stop;  ///< asked after every step, and while counting
  std::function<void(const StepReport&)> on_step;
  std::function<void(const std::string&)> on_warning;
  std::function<void()> on_save;  ///< after every save
  /// While the recall memory is filled: bytes done and in all.
  std::function<void(uint64_t, uint64_t)> on_recall;
};

/// The configuration that a run on this corpus has: a small one takes a small recall memory. Throws
/// UsageError for one that is not valid.
Config fitted(Config config, const Corpus& corpus);

/// Trains one model on one corpus and keeps its run directory:
///   model.safetensors  state.safetensors  train_log.csv  README.md
/// state.safetensors alone holds all that --resume needs, so that a kill at any moment leaves the
/// last complete state.
class Trainer {
 public:
  /// `train`, and `holdout` where there is one, must outlive the trainer. Weights are initialised
  /// from the seed. Throws UsageError or Error.
  Trainer(const Config& config, const Corpus& train, const Corpus* holdout);

  /// Starts from the weights of another model of the same configuration. What that model recalls is
  /// not taken over: the memory holds the corpus of this run alone, from which a resumed run can
  /// make it again.
  void start_from(const Model& from);
  /// Continues the run in `dir`: false when it has no state yet. Throws Error when its state is
  /// damaged or belongs to another model, optimizer or corpus.
  bool resume(const std::filesystem::path& dir);

  /// Trains until the limits or should_stop, saving into `dir` as configured and at the end. The
  /// recall memory is counted first; stopped while at that, the run leaves `dir` as it is.
  /// A loss or gradient that is not finite throws Diverged and leaves the last saved state.
  TrainResult run(const std::filesystem::path& dir, const TrainCallbacks& call);
  /// The same without a run directory: nothing is kept but the weights in model().
  TrainResult train(const TrainCallbacks& call);

  /// Seconds of one typical step, measured without saving anything; the weights are spent.
  double measure_step();
  /// Held-out bits per byte on a sample of `eval_bytes`; nothing without a held-out corpus.
  std::optional<double> evaluate();

  const Model& model() const { return learner_.model(); }
  Precision precision() const { return learner_.activations().scratch.precision; }  ///< of products
  int64_t step() const { return step_; }
  int64_t step_bytes() const { return batch_.sequences * batch_.length; }

 private:
  /// Gives each step's report to `keep` before the callbacks see it.
  TrainResult train(const TrainCallbacks& call, const std::function<void(const StepReport&)>& keep);
  StepReport train_step();
  bool remember_corpus(const TrainCallbacks& call);
  TrainResult result(bool stopped) const;
  double elapsed() const;
  void warn_about_dead_scales(const StepReport& report, const TrainCallbacks& call);
  void save(const std::filesystem::path& dir, const TrainCallbacks& call);
  void write_model_card(const std::filesystem::path& dir) const;

  Config config_;
  const Corpus& corpus_;
  const Corpus* holdout_;
  Learner learner_;
  Recall even_, odd_;  ///< memories of the even and of the odd documents
  Schedule schedule_, table_schedule_;
  RunLimits limits_;
  std::unique_ptr<Teacher> teacher_;  ///< null without one
  WindowSampler sampler_;
  TokenBatch batch_;

  int64_t step_ = 0;
  double earlier_seconds_ = 0;  ///< of the sessions before this one
  Clock::time_point started_;
  double recent_loss_ = 0;
  std::optional<double> holdout_bpb_;
  std::vector<double> alpha_;
  bool warned_about_scales_ = false;
};

}  // namespace axl
