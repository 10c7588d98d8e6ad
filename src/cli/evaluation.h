#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/file.h"
#include "axl/data/shingles.h"
#include "axl/infer/bootstrap.h"
#include "axl/infer/breakdown.h"
#include "axl/infer/perplexity.h"
#include "cli/baselines.h"
#include "cli/progress.h"

namespace axl {

/// Training text that shares more than this with what is evaluated calls a score in question.
constexpr double kMostShared = 0.10, kMostSharedOfFile = 0.50;

struct EvaluatedFile {
  std::string name;
  Score score;
  SharedShingles shared;  ///< with the training files, if those were given
};

/// All that `axl eval-ppl` finds out.
struct Evaluation {
  explicit Evaluation(uint64_t most_context) : breakdown(most_context) {}

  std::vector<EvaluatedFile> files;
  Score total;
  double seconds = 0;                          ///< of scoring
  Breakdown breakdown;                         ///< of all files
  std::optional<ConfidenceInterval> interval;  ///< of the total, with two files or more
  std::optional<SharedShingles> shared;        ///< of all files, with training files
  std::vector<Baseline> baselines;             ///< if asked for
};

/// The files that these paths mean, in their order: a file itself, and of a directory the files
/// that training would take, by path. Throws Error.
std::vector<std::string> expand_paths(const std::vector<std::string>& paths);

/// Scores each file as one document and tells `on_file` each when it is done. Rows for --per-byte
/// go to `csv`, if any. Returns early when a signal says to stop. Throws Error for an empty file
/// and for a score that is not finite.
Evaluation score_files(const Model& model, Head head, const std::vector<std::string>& files,
                       AtomicFile* csv, Progress& progress,
                       const std::function<void(const EvaluatedFile&)>& on_file);

/// Sets what the evaluated files share with the training files. Returns early when a signal says to
/// stop.
void find_shared_shingles(Evaluation& evaluation, const std::vector<std::string>& training_files,
                          Progress& progress);

}  // namespace axl
