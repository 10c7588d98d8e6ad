#include "cli/tune_trials.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/memory.h"
#include "axl/base/text.h"
#include "axl/train/memory.h"
#include "cli/config_file.h"

namespace axl {
namespace {

constexpr int64_t kFewestSteps = 5;
constexpr double kMeasuringShare = 0.02;  // of the budget
constexpr int64_t kProbeBytes = 4096;     // to measure how fast scoring is
constexpr double kScoringShare = 0.15;    // of a first trial's time, at most
constexpr int64_t kFewestScored = 4096;   // bytes

bool changes_cost(const std::string& setting) {
  for (const char* key : {"model.", "train.batch_size=", "train.optimizer=", "train.precision="})
    if (setting.starts_with(key)) return true;
  return false;
}

bool sets(const TuneCandidate& candidate, const std::string& key) {
  return std::ranges::any_of(candidate,
                             [&](const std::string& s) { return s.starts_with(key + "="); });
}

}  // namespace

TuneTrials::TuneTrials(Config base, std::vector<TuneCandidate> candidates, const Corpora& corpora,
                       TuneBudget budget)
    : base_(std::move(base)),
      candidates_(std::move(candidates)),
      corpora_(corpora),
      budget_(budget),
      begin_(Clock::now()),
      costs_(candidates_.size(), 1.0) {
  for (size_t c = 0; c < candidates_.size(); ++c)
    require_memory(fitted(config_of(c, kFewestSteps), *corpora_.train), available_memory());
  if (budget_.steps > 0) return;
  measure();
  if (std::ranges::any_of(candidates_.at(0), changes_cost)) measure_costs();
  require_enough();
}

double TuneTrials::seconds_left() const {
  return std::max(0.0, budget_.seconds - seconds_since(begin_));
}

// A short trial would spend all of a long warm-up below its learning rate, and favour rates that
// are too high.
Config TuneTrials::config_of(size_t candidate, int64_t steps) const {
  Config config = base_;
  apply_overrides(config, candidates_[candidate]);
  TrainConfig& t = config.train;
  t.steps = steps;
  t.max_time.clear();
  t.eval_every = 0;
  if (!sets(candidates_[candidate], "train.warmup_steps"))
    t.warmup_steps = std::min(t.warmup_steps, steps / 10);
  return config;
}

void TuneTrials::measure() {
  Config config = config_of(0, kFewestSteps);
  config.train.eval_bytes = kProbeBytes;
  const Clock::time_point begin = Clock::now();
  Trainer trainer(config, *corpora_.train, corpora_.holdout.get());
  const double init_seconds = seconds_since(begin);
  trainer.evaluate();  // touches the memory
  const Clock::time_point scoring = Clock::now();
  trainer.evaluate();
  const double byte_seconds = seconds_since(scoring) / kProbeBytes;
  step_seconds_ = measure_step(config, kMeasuringShare * budget_.seconds);

  const double trial_seconds = seconds_left() / double(rungs() * candidates_.size());
  const double affordable = kScoringShare * trial_seconds / byte_seconds;
  base_.train.eval_bytes =
      std::max(kFewestScored, std::min(base_.train.eval_bytes, static_cast<int64_t>(affordable)));
  overhead_seconds_ = init_seconds + byte_seconds * double(base_.train.eval_bytes);
}

void TuneTrials::measure_costs() {
  const double seconds = kMeasuringShare * budget_.seconds / double(candidates_.size());
  for (size_t c = 1; c < candidates_.size(); ++c)
    costs_[c] = measure_step(config_of(c, kFewestSteps), seconds) / step_seconds_;
}

/// Mean over `seconds`, and at least two steps, after a first one. The mean rather than the best:
/// what else the machine does will slow the trials too.
double TuneTrials::measure_step(Config config, double seconds) const {
  config.train.lr = 1e-9;  // plays no part in speed, and must not diverge
  config.train.steps = std::numeric_limits<int32_t>::max();
  Trainer trainer(config, *corpora_.train, nullptr);
  std::optional<StepReport> first, last;
  TrainCallbacks call;
  call.on_step = [&](const StepReport& report) {
    if (!first) first = report;
    last = report;
  };
  call.should_stop = [&] {
    return last && last->step >= 3 && last->seconds - first->seconds >= seconds;
  };
  trainer.train(call);
  return (last->seconds - first->seconds) / double(last->step - first->step);
}

void TuneTrials::require_enough() const {
  const double dearest = std::ranges::max(costs_) * step_seconds_;
  const double first_trial = overhead_seconds_ + kFewestSteps * dearest;
  const double needed = first_trial * double(rungs() * candidates_.size());
  if (needed <= seconds_left()) return;
  const auto seconds = static_cast<int64_t>(std::ceil(needed + seconds_since(begin_)));
  throw UsageError(
      format("--budget {} is too short to tell {} candidates apart: a step takes {:.2g} s; give "
             "--budget {}s or more, or fewer values",
             human_seconds(budget_.seconds), candidates_.size(), dearest, seconds));
}

/// Plans by what the machine did in the rung before, since it may have slowed down. Trials that
/// were no longer than those before would tell nothing new.
void TuneTrials::begin_rung(const TrialRequest& request) {
  const double steps_before = rung_steps_;
  if (trained_steps_ > 0) step_seconds_ = trained_seconds_ / trained_steps_;
  trained_seconds_ = trained_steps_ = 0;
  rung_ = request.rung;
  if (budget_.steps > 0) {
    rung_steps_ = std::ldexp(double(budget_.steps), static_cast<int>(request.rung));
    return;
  }
  rung_steps_ = (request.seconds - overhead_seconds_) / step_seconds_;
  out_of_time_ = request.rung > 0 && rung_steps_ <= steps_before;
}

std::optional<double> TuneTrials::evaluate(const TrialRequest& request,
                                           const TrainCallbacks& call) {
  if (request.rung != rung_) begin_rung(request);
  if (out_of_time_) return std::nullopt;
  const double cost = costs_[request.candidate];
  const auto planned = static_cast<int64_t>(rung_steps_ / cost);
  const int64_t steps = budget_.steps > 0 ? planned : std::max(kFewestSteps, planned);
  Trainer trainer(config_of(request.candidate, steps), *corpora_.train, corpora_.holdout.get());
  double score = std::numeric_limits<double>::infinity();
  TrainCallbacks timed = call;
  timed.on_step = [&](const StepReport& report) {
    if (report.step == steps) {
      trained_seconds_ += report.seconds;
      trained_steps_ += double(steps) * cost;
    }
    if (call.on_step) call.on_step(report);
  };
  try {
    const TrainResult result = trainer.train(timed);
    if (result.stopped) return std::nullopt;
    score = result.holdout_bpb.value();
  } catch (const Diverged&) {
    // The worst of scores.
  }
  steps_made_.push_back(steps);
  return score;
}

}  // namespace axl
