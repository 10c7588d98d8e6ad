#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/infer/batch.h"

namespace axl {

/// When the half that a full context keeps is read again: at once, when it is full, or in the
/// passes before, along with the bytes that fill it, a byte of each as a rule. kBest reads along
/// where the model waits for memory anyway (Model::waits_for_memory).
enum class Renewal { kBest, kAtOnce, kAlong };
bool reads_along(const Model& model, Renewal renewal);

/// Texts being read and written, with caches for every scale: a new byte runs the fine stack once
/// and a coarser stack only when its group completes. Equal to the full forward within float
/// tolerance at every length.
///
/// Several texts go in step, each a byte at a time: one pass reads the weights once for all of
/// them. They have equal lengths, and none sees another.
///
/// When max_seq_len inputs are full, the oldest half (a multiple of the largest factor) is dropped
/// and the rest is read again, as Renewal says, that of several texts always at once.
class Session {
 public:
  /// `model` must outlive the session; sequences >= 1, and kAlong is for one.
  explicit Session(const Model& model, int64_t sequences = 1, Renewal renewal = Renewal::kBest);

  /// Forgets everything.
  void clear();
  /// Reads equally many tokens of every sequence, one sequence after the other, and returns for
  /// each the logits [V] of the token after them, [sequences · V], valid until the next call.
  /// tokens must not be empty. The same calls give the same logits, bit for bit, on any number of
  /// threads; the same tokens in other portions give them within float tolerance.
  std::span<const float> append(std::span<const int32_t> tokens);

  /// Of one text: reads `token` and, in the same pass, guesses of what follows it. Returns logits
  /// [1 + guesses, V] of the token after `token` and after each guess, valid until the next call.
  /// There are room_for_guesses() at most. The logits are those, bit for bit, that reading the same
  /// tokens one by one gives.
  std::span<const float> append(int32_t token, std::span<const int32_t> guesses);
  /// How many guesses may come with the next token: none where the context must move first, of
  /// several texts, or where next windows are read along, which wants the same rows.
  int64_t room_for_guesses() const;
  /// Which of them were right: the first `count` stay, the others were never there.
  void keep_guesses(int64_t count);

  const Model& model() const { return model_; }
  int64_t sequences() const { return static_cast<int64_t>(windows_.size()); }
  int64_t length() const { return static_cast<int64_t>(windows_[0].size()); }  ///< in context
  int64_t dropped() const { return dropped_; }  ///< inputs of each sequence forgotten
  /// Inputs of the next window that are read already.
  int64_t read_along() const { return reads_along_ ? std::ssize(batch_.tokens(1 - text_)) : 0; }
  size_t memory_bytes() const { return batch_.memory_bytes(); }

 private:
  void drop_excess();
  std::span<const float> read_windows();
  void add_due_of_next_window();

  const Model& model_;
  const ModelConfig& config_;
  std::vector<std::vector<int32_t>> windows_;  ///< inputs in context, of each sequence
  int64_t portion_;                            ///< tokens of each sequence that one pass takes
  bool reads_along_;
  /// The first sequence's text in the batch. Of one whose next window is read along, that is the
  /// other text; they change places when the context is full.
  int64_t text_ = 0;
  int64_t dropped_ = 0;
  int64_t guesses_ = 0;  ///< at the end of the window
  Batch batch_;
  std::vector<Batch::Portion> portions_;
};

/// How many of the oldest inputs a full context gives up.
int64_t context_drop(const ModelConfig& config);

/// Whether writing `new_tokens` more outgrows a context of `length` inputs; the last is not read.
bool outgrows_context(const ModelConfig& config, int64_t length, int64_t new_tokens);

/// Of the window that follows a context of `length` inputs, of which `read` are read, how many to
/// read along with this context's last one: the same part of what is left in each of the passes
/// until it is full. The next window begins context_drop() inputs later.
int64_t due_of_next_window(const ModelConfig& config, int64_t length, int64_t read);

/// Of a text of `inputs` tokens, how many of the oldest a context has given up that reads all of
/// it: the fewest times context_drop() that leave no more than max_seq_len.
int64_t dropped_inputs(const ModelConfig& config, int64_t inputs);

}  // namespace axl
