#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "serve/api_error.h"

namespace axl {

/// The training logs that a server shows: those of the directories it was started with, no others.
class RunLogs {
 public:
  explicit RunLogs(std::vector<std::filesystem::path> directories)
      : directories_(std::move(directories)) {}

  /// {"runs": [{"name", "log": "/runs/0/log"}]}.
  Reply list() const;
  /// What "/runs/0/log" stands for: the header of that run's train_log.csv and its last whole rows,
  /// a mebibyte of them at most, as they are now. Throws ApiError 404.
  std::string log(const std::string& address) const;

 private:
  std::vector<std::filesystem::path> directories_;
};

}  // namespace axl
