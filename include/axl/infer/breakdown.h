#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/data/byte_kind.h"
#include "axl/infer/perplexity.h"

namespace axl {

/// Scores of the bytes before which from `first` to `last` bytes of the document were visible.
struct ContextScore {
  uint64_t first = 0, last = 0;
  Score score;
};

/// Where a model pays: the score of each kind of byte, and by visible context in buckets 0–15,
/// 16–31, 32–63, 64–127, … of which each is as long as all before it. The last holds the full
/// context of `most` bytes too: 128–256.
class Breakdown {
 public:
  explicit Breakdown(uint64_t most) : most_(most) {}

  /// `context` bytes were visible before the first of the bytes with these `nats` and `kinds` (both
  /// of one length), and one more before each next.
  void add(uint64_t context, std::span<const float> nats, std::span<const ByteKind> kinds);

  /// Of the buckets up to the last that holds bytes.
  const std::vector<ContextScore>& by_context() const { return by_context_; }
  const Score& of(ByteKind kind) const { return by_kind_[static_cast<size_t>(kind)]; }

 private:
  uint64_t most_;
  std::vector<ContextScore> by_context_;
  Score by_kind_[kByteKinds];
};

}  // namespace axl
