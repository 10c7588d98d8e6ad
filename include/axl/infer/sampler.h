#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/base/rng.h"

namespace axl {

struct SamplingOptions {
  double temperature = 0.8;  ///< 0: the most likely token
  int64_t top_k = 40;        ///< 0: off
  double top_p = 1.0;        ///< 1: off
  double min_p = 0.0;        ///< 0: off; relative to the most likely token

  /// Throws UsageError for values outside their ranges.
  void validate() const;
};

struct Candidate {
  int32_t token;
  double probability;
};
/// The distribution that sampling draws from, most likely first: softmax(logits / temperature),
/// then top-k, top-p, min-p, each renormalised. BOS is never among them.
std::vector<Candidate> candidates(std::span<const float> logits, const SamplingOptions& options);

/// Draws one token; with temperature 0 takes the most likely (the lowest id of equals) and leaves
/// the rng alone.
int32_t sample(std::span<const float> logits, const SamplingOptions& options, Rng& rng);

}  // namespace axl
