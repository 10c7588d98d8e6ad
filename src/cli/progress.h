#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include "axl/base/clock.h"

namespace axl {

/// One line on stderr that says how far a long command is: rewritten in place on a terminal,
/// a new line now and then elsewhere.
class Progress {
 public:
  /// Prints nothing when `quiet`. Elsewhere than on a terminal, at most every `plain_seconds`.
  explicit Progress(bool quiet, double plain_seconds = 10, std::FILE* out = stderr);
  /// Clears the line on a terminal.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows `line` (of text without line ends) if the last one has stood long enough.
  void update(const std::string& line);
  /// Prints `line` for good, in place of what is shown.
  void print(const std::string& line);

 private:
  bool quiet_, terminal_;
  double seconds_;
  std::FILE* out_;
  Clock::time_point next_{};
};

/// Clears the line that a Progress shows on a terminal, for something else to be printed. It is
/// shown again by the next update().
void clear_progress_line();

}  // namespace axl
