#pragma once

#include <string>
#include <vector>

#include "axl/serve/engine.h"
#include "serve/api_error.h"
#include "serve/utf8_stream.h"

namespace axl {

/// How logprobs name a token: an ASCII character, "bytes:\xE4" for another byte, "<|eos|>".
std::string token_name(int32_t token);

/// The logprobs object of /v1/completions: {tokens, token_logprobs, top_logprobs, text_offset},
/// piece by piece of a text. Offsets are characters from the beginning of prompt and text.
class CompletionLogprobs {
 public:
  /// Of a text of which `before` characters are not told.
  explicit CompletionLogprobs(size_t before = 0) : offset_(before) {}
  /// `first_unknown`: the first token has nothing before it and gets null for a probability.
  Reply piece(const std::vector<TokenInfo>& tokens, bool first_unknown = false);

 private:
  size_t place(int32_t token);

  Utf8Stream utf8_;
  size_t offset_;
};

/// The logprobs object of chat: {content: [{token, logprob, bytes, top_logprobs}], refusal}.
Reply chat_logprobs(const std::vector<TokenInfo>& tokens);

}  // namespace axl
