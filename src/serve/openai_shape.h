#pragma once

#include <string>
#include <vector>

#include "serve/logprobs.h"
#include "serve/shape.h"
#include "serve/utf8_stream.h"

namespace axl {

/// What OpenAI's two APIs have in common: an object of choices, usage, chunks.
class OpenAiShape : public Shape {
 public:
  explicit OpenAiShape(const Answer& answer) : answer_(answer), streams_(answer.texts().size()) {}

  Reply whole() override;
  std::vector<Reply> closing() override;

 protected:
  virtual const char* object(bool chunk) const = 0;
  /// A choice without its index and finish_reason.
  virtual Reply whole_choice(const AnswerText& text) = 0;

  /// {id, object, created, model, choices}.
  Reply frame(bool chunk, Reply choices) const;
  Reply chunk(size_t text, Reply choice, const std::string& finish_reason) const;
  Reply usage() const;

  const Answer& answer_;
  std::vector<Utf8Stream> streams_;  ///< of each text
};

/// "stop" for the end of a text and stop strings, else "length".
std::string finish_reason(const CompletionPiece& end);

/// /v1/completions.
class CompletionShape : public OpenAiShape {
 public:
  explicit CompletionShape(const Answer& answer);
  std::vector<Reply> opening(size_t text) override;
  std::vector<Reply> piece(size_t text, const CompletionPiece& piece) override;

 protected:
  const char* object(bool) const override { return "text_completion"; }
  Reply whole_choice(const AnswerText& text) override;

 private:
  struct Echo {
    bool due = false;               ///< not sent yet
    std::vector<TokenInfo> scores;  ///< of the prompt, as far as they have come
  };
  CompletionLogprobs new_logprobs(const AnswerText& text) const;
  Reply text_chunk(size_t text, const std::string& part, const std::vector<TokenInfo>& tokens,
                   const std::string& finish_reason, bool first = false);
  const AnswerPrompt& prompt_of(size_t text) const;
  bool wants_logprobs() const { return answer_.request().top_logprobs >= 0; }

  std::vector<CompletionLogprobs> logprobs_;
  std::vector<Echo> echoes_;
};

/// /v1/chat/completions and /v1/fim/completions.
class ChatShape : public OpenAiShape {
 public:
  using OpenAiShape::OpenAiShape;
  std::vector<Reply> opening(size_t text) override;
  std::vector<Reply> piece(size_t text, const CompletionPiece& piece) override;

 protected:
  const char* object(bool chunk) const override {
    return chunk ? "chat.completion.chunk" : "chat.completion";
  }
  Reply whole_choice(const AnswerText& text) override;

 private:
  Reply delta_chunk(size_t text, Reply delta, const std::vector<TokenInfo>& tokens,
                    const std::string& finish_reason);
};

}  // namespace axl
