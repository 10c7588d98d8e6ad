#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "axl/train/trainer.h"

namespace axl {

/// What a run's train_log.csv tells. Of a report it holds step, bytes, seconds, loss (nats per
/// byte), alpha and, where the step was followed by an evaluation, holdout_bpb.
struct RunLog {
  std::vector<std::string> scales;  ///< "1", "2", "4": whose gate weight each alpha is
  std::vector<StepReport> steps;
};

/// Reads a training log; columns are found by name, those not listed above are skipped. A last line
/// without a line end is left out: the run is writing it, or was killed while it did.
/// Throws Error with file and line: no such file, a column missing, a row of another width, what is
/// not a finite number, steps that do not increase, no rows at all.
RunLog read_run_log(const std::filesystem::path& path);

}  // namespace axl
