#pragma once

#include <algorithm>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/train/optimizer.h"

namespace axl {

/// A run of one parameter's elements, small enough to share a model evenly among threads.
struct UpdateChunk {
  int64_t parameter;  ///< its number in the table
  int64_t begin;      ///< first element, within the parameter
  int64_t count;
  int64_t offset;  ///< of the first element in a block of all parameters
  bool decays;
};

inline bool decays(const OptimizerOptions& options, const Parameter& p) {
  return (p.role != Role::kGain && p.role != Role::kVotes) || options.decay_gains;
}

/// The parameters for which chosen(p) holds, cut into chunks.
class UpdateChunks {
 public:
  template <class Chosen>
  UpdateChunks(const OptimizerOptions& options, std::span<const Parameter> table,
               const Chosen& chosen) {
    constexpr int64_t kChunk = 1 << 14;
    for (size_t p = 0; p < table.size(); ++p) {
      first_.push_back(chunks_.size());
      if (!chosen(table[p])) continue;
      for (int64_t i = 0; i < table[p].size(); i += kChunk)
        chunks_.push_back({static_cast<int64_t>(p), i, std::min(kChunk, table[p].size() - i),
                           table[p].offset + i, decays(options, table[p])});
    }
    first_.push_back(chunks_.size());
  }

  std::span<const UpdateChunk> all() const { return chunks_; }

  /// body(chunk, its number, its gradients, keep) for every chunk of the part, on all threads;
  /// keep = 1 − lr·decay, or 1.
  template <class Body>
  void for_each(const UpdatePart& part, std::span<const Parameter> table, double decay,
                const Body& body) const {
    const int64_t begin = first_[part.range.first], end = first_[part.range.end];
    const int64_t origin = table[part.range.first].offset;
    parallel_for(end - begin, [&](int64_t i) {
      const UpdateChunk& chunk = chunks_[begin + i];
      body(chunk, begin + i, part.gradients + (chunk.offset - origin),
           chunk.decays ? static_cast<float>(1.0 - decay) : 1.0f);
    });
  }

 private:
  std::vector<UpdateChunk> chunks_;
  std::vector<int64_t> first_;  ///< chunk of each parameter, and the number of chunks
};

}  // namespace axl
