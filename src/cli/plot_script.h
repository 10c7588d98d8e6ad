#pragma once

#include <span>
#include <string>
#include <vector>

#include "axl/train/run_log.h"

namespace axl {

/// A run as a legend names it.
struct PlottedRun {
  std::string name;
  RunLog log;
};

/// A gnuplot script that writes one picture to stdout: training loss (smoothed, bits per byte) and
/// held-out score, each by time and by what was read, then a panel of gate weights for each run.
/// Held-out panels are left out when no run was evaluated, gate panels of runs without a gate.
/// `terminal` is gnuplot's: "svg" or "pngcairo". All data stands in the script; names are quoted,
/// so that none of them can be read as a command.
std::string plot_script(std::span<const PlottedRun> runs, const std::string& terminal);

/// The text between single quotes, where gnuplot interprets nothing; apostrophes become ’ and
/// control characters spaces.
std::string gnuplot_quote(const std::string& text);

}  // namespace axl
