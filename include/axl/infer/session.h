#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/infer/batch.h"

namespace axl {

/// Texts being read and written, with caches for every scale: a new byte runs the fine stack once
/// and a coarser stack only when its group completes. Equal to the full forward within float
/// tolerance at every length.
///
/// Several texts go in step, each a byte at a time: one pass reads the weights once for all of
/// them. They have equal lengths, and none sees another.
///
/// When max_seq_len inputs are full, the oldest half (a multiple of the largest factor) is dropped
/// and the rest is read again.
class Session {
 public:
  /// `model` must outlive the session; sequences >= 1.
  explicit Session(const Model& model, int64_t sequences = 1);

  /// Forgets everything.
  void clear();
  /// Reads equally many tokens of every sequence, one sequence after the other, and returns for
  /// each the logits [V] of the token after them, [sequences · V], valid until the next call.
  /// tokens must not be empty. The same calls give the same logits, bit for bit, on any number of
  /// threads; the same tokens in other portions give them within float tolerance.
  std::span<const float> append(std::span<const int32_t> tokens);

  int64_t sequences() const { return static_cast<int64_t>(windows_.size()); }
  int64_t length() const { return static_cast<int64_t>(windows_[0].size()); }  ///< in context
  int64_t dropped() const { return dropped_; }  ///< inputs of each sequence forgotten
  size_t memory_bytes() const { return batch_.memory_bytes(); }

 private:
  void drop_excess();
  std::span<const float> read_windows();

  const ModelConfig& config_;
  std::vector<std::vector<int32_t>> windows_;  ///< inputs in context, of each sequence
  int64_t portion_;                            ///< tokens of each sequence that one pass takes
  int64_t dropped_ = 0;
  Batch batch_;
  std::vector<Batch::Portion> portions_;
};

/// How many of the oldest inputs a full context gives up.
int64_t context_drop(const ModelConfig& config);

/// Of a text of `inputs` tokens, how many of the oldest a context has given up that reads all of
/// it: the fewest times context_drop() that leave no more than max_seq_len.
int64_t dropped_inputs(const ModelConfig& config, int64_t inputs);

}  // namespace axl
