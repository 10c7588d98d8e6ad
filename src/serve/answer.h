#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/serve/engine.h"
#include "serve/text_request.h"

namespace axl {

/// One of the texts that a request asked for, as far as it has come.
struct AnswerText {
  int64_t prompt = 0;  ///< its number
  std::unique_ptr<Completion> completion;
  CompletionPiece all;  ///< every piece so far, put together
  bool done() const { return all.last; }
  /// Mean of the log-probabilities of what was written, which best_of compares.
  double mean_logprob() const;
};

/// What a request's prompts have become for the model that answers.
struct AnswerPrompt {
  std::string text;     ///< as sent, for echo
  int64_t tokens = 0;   ///< that the model reads, BOS left out
  int64_t dropped = 0;  ///< bytes for which the context has no room
  bool suffix_unused = false;
};

/// The work on one request: all its texts, being written at the same time.
class Answer {
 public:
  /// Throws to end the work: the client has gone, the server stops.
  using Interrupt = std::function<void()>;
  /// How long to wait for a piece before an Interrupt is asked again.
  static constexpr std::chrono::milliseconds kPatience{50};

  /// Submits the texts. Throws BusyError, UsageError and ApiError.
  Answer(std::shared_ptr<Engine> engine, std::string model, TextRequest request,
         Clock::time_point deadline);

  /// The next piece of a text that is not done, where it came within `patience`.
  std::optional<CompletionPiece> advance(size_t text, std::chrono::milliseconds patience);
  /// Waits for all texts, then leaves of each prompt's best_of the n likeliest. Throws ApiError 504
  /// when the time was over before they were done.
  void finish(const Interrupt& interrupt);

  const TextRequest& request() const { return request_; }
  const std::string& model() const { return model_; }
  const std::string& id() const { return id_; }
  int64_t created() const { return created_; }
  int64_t context() const { return engine_->model().config().max_seq_len; }
  int64_t max_tokens(size_t prompt) const;
  const std::vector<AnswerText>& texts() const { return texts_; }
  const std::vector<AnswerPrompt>& prompts() const { return prompts_; }

  struct Usage {
    int64_t prompt = 0, cached = 0, completion = 0;
  };
  /// Of what is done, texts that best_of has dropped included.
  Usage usage() const;

 private:
  CompletionRequest base_request(const Prompt& prompt, Clock::time_point deadline);
  void keep_best();

  std::shared_ptr<Engine> engine_;
  std::string model_, id_;
  int64_t created_;
  TextRequest request_;
  std::vector<AnswerPrompt> prompts_;
  std::vector<AnswerText> texts_;
  Usage dropped_usage_;  ///< of texts that are gone
};

/// Throws the ApiError of a text that has ended without being done: its time was over, its engine
/// has ended.
void check_end(const CompletionPiece& end, Api api);

}  // namespace axl
