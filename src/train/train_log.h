#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>

#include "axl/train/trainer.h"

namespace axl {

/// train_log.csv: a row per step, flushed as it is written.
class TrainLog {
 public:
  /// Keeps the rows of an earlier session up to `step` and drops what came after its last save.
  TrainLog(const std::filesystem::path& path, const ModelConfig& config, int64_t step);
  /// Throws Error when the row cannot be written.
  void append(const StepReport& report);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace axl
