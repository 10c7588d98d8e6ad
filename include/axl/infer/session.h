#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/model/model.h"

namespace axl {

/// One text being read and written, with caches for every scale: a new byte runs the fine stack
/// once and a coarser stack only when its group completes. Equal to the full forward within float
/// tolerance at every length.
///
/// When max_seq_len inputs are full, the oldest half (a multiple of the largest factor) is dropped
/// and the rest is read again.
class Session {
 public:
  /// `model` must outlive the session.
  explicit Session(const Model& model);

  /// Forgets everything.
  void clear();
  /// Reads tokens and returns the logits [V] of the token after them; valid until the next call.
  /// tokens must not be empty.
  std::span<const float> append(std::span<const int32_t> tokens);

  int64_t length() const { return static_cast<int64_t>(window_.size()); }  ///< inputs in context
  int64_t dropped() const { return dropped_; }                             ///< inputs forgotten
  size_t memory_bytes() const;

 private:
  void read_window();

  const Model& model_;
  std::vector<int32_t> window_;
  int64_t done_ = 0;  ///< tokens of window_ that the caches hold
  int64_t dropped_ = 0;
  Buffer cache_memory_;
  Cache cache_;
  Activations activations_;
};

/// How many of the oldest inputs a full context gives up.
int64_t context_drop(const ModelConfig& config);

}  // namespace axl
