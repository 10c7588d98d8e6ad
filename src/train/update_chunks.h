#pragma once

#include <algorithm>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/train/optimizer.h"

namespace axl {

/// A run of one parameter's elements, small enough to share a model evenly among threads.
struct UpdateChunk {
  int64_t begin, count;
  bool decays;
};

inline bool decays(const OptimizerOptions& options, const Parameter& p) {
  return (p.role != Role::kGain && p.role != Role::kVotes) || options.decay_gains;
}

/// Chunks of the parameters for which chosen(p) holds.
template <class Chosen>
std::vector<UpdateChunk> update_chunks(const OptimizerOptions& options,
                                       std::span<const Parameter> table, const Chosen& chosen) {
  constexpr int64_t kChunk = 1 << 14;
  std::vector<UpdateChunk> chunks;
  for (const Parameter& p : table) {
    if (!chosen(p)) continue;
    for (int64_t i = 0; i < p.size(); i += kChunk)
      chunks.push_back({p.offset + i, std::min(kChunk, p.size() - i), decays(options, p)});
  }
  return chunks;
}

/// body(i, keep) for every element of the chunks; keep = 1 − lr·decay, or 1. For the CPU of the
/// build, unlike the row kernels: reading and writing the weights is what takes the time.
template <class Body>
void for_each_element(const std::vector<UpdateChunk>& chunks, double lr, double weight_decay,
                      const Body& body) {
  parallel_for(static_cast<int64_t>(chunks.size()), [&](int64_t c) {
    const UpdateChunk chunk = chunks[c];
    const float keep = chunk.decays ? static_cast<float>(1.0 - lr * weight_decay) : 1.0f;
#pragma omp simd
    for (int64_t i = chunk.begin; i < chunk.begin + chunk.count; ++i) body(i, keep);
  });
}

}  // namespace axl
