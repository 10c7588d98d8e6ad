#pragma once

#include <condition_variable>
#include <mutex>
#include <span>
#include <utility>

#include "axl/base/clock.h"
#include "axl/base/rng.h"
#include "axl/infer/drafter.h"
#include "axl/infer/generate.h"
#include "axl/infer/session.h"
#include "axl/serve/engine.h"

namespace axl {

/// Where an engine leaves what it has written and a request's thread takes it.
class Mailbox {
 public:
  /// Adds to what was not taken yet; `piece.last` closes the box.
  void put(CompletionPiece piece);
  /// Closes the box: whoever takes from it gets this as an Error.
  void fail(std::string message);
  std::optional<CompletionPiece> take(std::chrono::milliseconds patience);

  /// Nobody will take anything any more.
  void abandon();
  bool abandoned() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<CompletionPiece> piece_;
  std::string failure_;
  bool abandoned_ = false;
};

/// One text on its way through an engine: which tokens of it the context holds, which of them were
/// read, and what follows from the logits. The context moves as that of a Session.
class Stream {
 public:
  Stream(CompletionRequest request, const ModelConfig& config);

  std::shared_ptr<Mailbox> mailbox() const { return mailbox_; }

  /// The cache that the text has, and the one into which its next window is read along, -1: none.
  /// Set by the engine.
  int64_t sequence = -1, next_sequence = -1;

  /// The context's tokens, read or not, and how many of them were read. When a full context must
  /// give way to a token, the oldest half leaves and nothing counts as read.
  std::span<const int32_t> window();
  int64_t read_count() const { return read_ - window_begin_; }
  int64_t unread_count() { return static_cast<int64_t>(window().size()) - read_count(); }
  /// Whether the text may come to an end of this context and go on.
  bool may_move() const {
    return outgrows_context(config_, prompt_tokens() - window_begin_, request_.max_tokens);
  }
  /// What another text's cache holds of the window may be taken from there, unless the logits on
  /// the way are wanted.
  bool may_reuse() const { return !wants_every_logit(); }
  void reuse(int64_t count);

  /// The one unread token and, where they are worth it in a pass of so many texts, guesses of up to
  /// `most` that follow; to be read together.
  std::span<const int32_t> unread_and_guesses(int64_t most, int64_t texts);
  int64_t guesses_made() const { return guesses_made_; }
  int64_t guesses_right() const { return guesses_right_; }

  /// With a model it guesses ahead.
  void begin(const Model* guess_for);
  bool wants_every_logit() const { return request_.score_prompt; }
  /// The next `tokens` unread ones were read, guesses included: logits [n, V] and gate weights
  /// [n, S] of the last n of them.
  void take(int64_t tokens, ConstMat logits, ConstMat gate);
  /// Ends the text where it is.
  void finish(const std::string& reason);
  void fail(const std::string& message);
  bool finished() const { return finished_; }
  /// Ends it if its time is over or nobody waits for it.
  void check(Clock::time_point now);

  int64_t prompt_tokens() const { return static_cast<int64_t>(request_.prompt.size()) + 1; }
  int64_t prompt_reused() const { return prompt_reused_; }
  int64_t new_tokens() const { return new_tokens_; }

 private:
  void score(ConstMat logits, ConstMat gate);
  int32_t write_next(const float* logits, const float* gate, int64_t scales);
  void write(int32_t token);
  TokenInfo info(const float* logits, const float* gate, int64_t scales, int32_t token) const;
  void release(std::string text);

  const ModelConfig& config_;
  CompletionRequest request_;
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::vector<int32_t> tokens_;  ///< BOS, prompt, what was written
  int64_t window_begin_ = 0, read_ = 0;
  int64_t scored_ = 1;  ///< tokens of the prompt whose TokenInfo is made; BOS has none
  Rng rng_;
  std::optional<Drafter> drafter_;
  std::vector<int32_t> ahead_;  ///< an unread token and guesses
  int64_t guesses_ = 0;         ///< in the pass that is being read
  StopFilter filter_;
  std::vector<TokenInfo> held_;  ///< of bytes that the filter holds back
  CompletionPiece piece_;        ///< what the current pass has made certain
  int64_t prompt_dropped_ = 0, prompt_reused_ = 0, new_tokens_ = 0;
  int64_t guesses_made_ = 0, guesses_right_ = 0;
  bool finished_ = false;
  std::optional<Clock::time_point> begun_, first_logits_;
};

}  // namespace axl
