#pragma once

#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/train/trainer.h"
#include "axl/train/tune.h"
#include "cli/corpora.h"

namespace axl {

/// What a search may take: a time, or the steps of each of its first trials, of which every further
/// rung makes twice as many as the one before, on any machine.
struct TuneBudget {
  double seconds = std::numeric_limits<double>::infinity();
  int64_t steps = 0;
};

/// Trains the candidates of a search within a budget; time begins with the constructor. All trials
/// of a rung make the same number of steps, except where a tuned key changes what a step costs and
/// the budget is a time: then they get the same time.
class TuneTrials {
 public:
  /// Measures the speed of training and scoring, for a budget of time. Throws UsageError when a
  /// candidate is no valid configuration or when the budget does not give every first trial a few
  /// steps.
  TuneTrials(Config base, std::vector<TuneCandidate> candidates, const Corpora& corpora,
             TuneBudget budget);

  double seconds_left() const;  ///< infinity without a limit
  size_t rungs() const { return tune_rungs(candidates_.size()); }
  const TuneCandidate& candidate(size_t i) const { return candidates_[i]; }
  /// Steps of each trial made so far.
  const std::vector<int64_t>& steps_made() const { return steps_made_; }

  /// One trial: held-out bits per byte, infinity where it diverged, nothing where it was stopped or
  /// where the time that is left would not make it longer than a trial of the rung before.
  std::optional<double> evaluate(const TrialRequest& request, const TrainCallbacks& call);

 private:
  Config config_of(size_t candidate, int64_t steps) const;
  void measure();
  void measure_costs();
  void require_enough() const;
  double measure_step(Config config, double seconds) const;
  void begin_rung(const TrialRequest& request);

  Config base_;
  std::vector<TuneCandidate> candidates_;
  const Corpora& corpora_;
  TuneBudget budget_;
  Clock::time_point begin_;

  double step_seconds_ = 0;      ///< of a candidate whose cost is 1
  double overhead_seconds_ = 0;  ///< of a trial: its initial weights and its score
  std::vector<double> costs_;    ///< of a step of each candidate, relative to the first
  std::vector<int64_t> steps_made_;
  std::optional<size_t> rung_;
  double rung_steps_ = 0;                           ///< of a trial whose cost is 1
  double trained_seconds_ = 0, trained_steps_ = 0;  ///< of the rung, to plan the next by
  bool out_of_time_ = false;
};

}  // namespace axl
