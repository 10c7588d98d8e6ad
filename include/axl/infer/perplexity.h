#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "axl/model/model.h"

namespace axl {

/// Cross-entropy of some bytes under a model.
struct Score {
  uint64_t bytes = 0;
  double nats = 0;  ///< total

  double nats_per_byte() const;
  double bits_per_byte() const;  ///< nats per byte / ln 2: what a compressor would pay
  double perplexity() const;     ///< e^(nats per byte)
  Score& operator+=(const Score& other);
};

/// Scores documents by sliding windows: inputs are BOS, byte 1, byte 2 …; windows of max_seq_len
/// inputs start every ⌊max_seq_len / 2⌋, and a window scores the bytes that no earlier one scored,
/// so that every byte is scored exactly once. EOS is not scored.
class Scorer {
 public:
  /// `model` must outlive the scorer.
  explicit Scorer(const Model& model, Head head = Head::kFused);

  /// `on_bytes(offset, nats)` sees the nats of the bytes from `offset` on, in order, and returns
  /// false to stop early; it may be null. An empty document scores zero bytes.
  using OnBytes = std::function<bool(uint64_t offset, std::span<const float> nats)>;
  Score score(std::string_view document, const OnBytes& on_bytes = nullptr);

  /// How many bytes the model saw when it predicted byte `offset` of a document.
  uint64_t context_of(uint64_t offset) const;

 private:
  /// Nats of the targets of `windows` windows of `length` inputs each, the first at input `begin`.
  std::span<const float> run(std::string_view document, uint64_t begin, int64_t windows,
                             int64_t length);

  const Model& model_;
  Head head_;
  int64_t stride_, batch_;
  Activations activations_;
  std::vector<int32_t> ids_, targets_;
};

}  // namespace axl
