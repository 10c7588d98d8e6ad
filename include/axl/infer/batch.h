#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/model/model.h"

namespace axl {

/// Caches of texts of different lengths, which passes of the model read on together: weights are
/// read once for all that take part, and none sees another. A text can be cut back to any earlier
/// length or begun as another one is, without reading anything again.
class Batch {
 public:
  /// Room for `sequences` texts of max_seq_len tokens each, and for passes of at most `rows`
  /// tokens. `model` must outlive the batch; sequences, rows >= 1.
  Batch(const Model& model, int64_t sequences, int64_t rows);

  int64_t sequences() const { return static_cast<int64_t>(tokens_.size()); }
  /// What a text's cache holds, from its first token on.
  std::span<const int32_t> tokens(int64_t sequence) const { return tokens_[sequence]; }

  /// Keeps the first `length` tokens, at most as many as there are.
  void truncate(int64_t sequence, int64_t length) { tokens_[sequence].resize(length); }
  /// Makes `to` hold the first `length` tokens of `from`, and nothing else.
  void copy_prefix(int64_t from, int64_t to, int64_t length);

  /// What one text reads in a pass.
  struct Portion {
    int64_t sequence;
    std::span<const int32_t> tokens;
    int64_t wanted = 1;  ///< logits of its last tokens, of so many
  };
  /// Appends to each portion's text its tokens, one at least; no text has two portions, together
  /// they have `rows` tokens at most, and each text then max_seq_len.
  void read(std::span<const Portion> portions);
  /// Of the last pass, a row per wanted token in the order of its portions: logits [R, V] of the
  /// token after it, and weights [R, S] of the scales in the fusion. Valid until the next pass.
  Mat logits();
  ConstMat gate() const { return activations_.fusion.alpha; }

  size_t memory_bytes() const { return cache_memory_.bytes() + activations_.memory_bytes(); }

 private:
  const Cache* cache_of(std::span<const Portion> portions);
  int64_t first_to_read(int64_t sequence, int64_t length) const;

  const Model& model_;
  std::vector<std::vector<int32_t>> tokens_;
  /// A pass leaves what coarser tokens show later bytes for the last ones alone. A text is read on
  /// at once from this length or a greater one, and else reads the tokens before again.
  std::vector<int64_t> complete_from_;
  std::vector<int32_t> ids_;
  Buffer cache_memory_;
  Cache cache_, selected_;
  Activations activations_;
};

}  // namespace axl
