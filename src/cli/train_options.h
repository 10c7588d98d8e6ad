#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "axl/train/config.h"
#include "cli/command.h"

namespace axl {

/// The flags of `axl train`.
struct TrainOptions {
  std::string config, init;
  std::vector<std::string> data, eval_data, set;
  std::optional<std::string> max_time;
  std::optional<int64_t> steps, seed;
  std::optional<double> holdout;
  std::string teacher;                       ///< of axl distill
  std::optional<double> temperature, alpha;  ///< of axl distill
  bool resume = false, dry_run = false;
};

/// What they come to: the resolved configuration and the run directory.
struct TrainPlan {
  Config config;
  std::filesystem::path out;
};

/// What `axl distill` has beyond them.
void declare_distill_options(CLI::App& app, TrainOptions& options);
void declare_train_options(CLI::App& app, Globals& globals, TrainOptions& options);

/// Resolves flags and files. A resumed run takes its own config.yaml, then the flags. Throws
/// UsageError.
TrainPlan plan_training(const TrainOptions& options, const Globals& globals);

}  // namespace axl
