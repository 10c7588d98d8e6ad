#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace axl {

/// One key to be tuned and the values it may take.
struct TuneParam {
  std::string key;                  ///< "train.lr"
  std::vector<std::string> values;  ///< of a list; of a range, a grid even in the logarithm
  double low = 0, high = 0;         ///< of a range; both 0 for a list
  bool whole = false;               ///< a range of whole numbers
};

/// "train.lr=1e-4..1e-2" is a range, "train.batch_size=8,16,32" a list, where commas inside
/// brackets do not separate; `whole` for keys that are whole numbers. A range is gridded by
/// `points` values. Throws UsageError.
TuneParam parse_tune_param(const std::string& text, bool whole, int points);
/// A range by its ends, 0 < low < high.
TuneParam tune_range(const std::string& key, double low, double high, bool whole, int points);

/// One value per param, in the form of --set: {"train.lr=1e-3", …}.
using TuneCandidate = std::vector<std::string>;

/// The grid of all values when it has at most `most` points; else `most` different points drawn by
/// `seed`, ranges log-uniform, lists uniform (Bergstra, Bengio 2012).
std::vector<TuneCandidate> tune_candidates(std::span<const TuneParam> params, size_t most,
                                           uint64_t seed);

/// What one evaluation is asked for: train `candidate` afresh for about `seconds`, and score it.
struct TrialRequest {
  size_t candidate, rung;
  double seconds;
};
struct Trial {
  size_t candidate, rung;
  double score;  ///< lower is better; infinity where training diverged
};

struct TuneResult {
  std::vector<Trial> trials;   ///< in the order they were made
  std::optional<size_t> best;  ///< candidate; none when none has a finite score
  bool stopped = false;        ///< before the last rung was complete
};

/// Rungs until one candidate is left: each keeps the better half, rounded up.
size_t tune_rungs(size_t candidates);

/// Successive halving (arXiv:1502.07943): every rung trains those that are left, each for the same
/// time, and keeps the better half; all rungs take equal shares of the time, so that each one
/// trains about twice as long as the one before. The best is that of the last rung that is complete
/// and has a finite score, else of what there is.
/// `seconds_left` is asked when a rung begins. `evaluate` returns a score, where anything that is
/// not finite counts as worst, or nothing to stop the search.
TuneResult successive_halving(
    size_t candidates, const std::function<double()>& seconds_left,
    const std::function<std::optional<double>(const TrialRequest&)>& evaluate);

}  // namespace axl
