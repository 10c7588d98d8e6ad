#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "axl/infer/sampler.h"

namespace axl {

/// In whose shape the answer goes out.
enum class Api { kCompletion, kChat, kFill, kLlama };

/// A text to be continued, or a gap in one to be filled.
struct Prompt {
  std::vector<int32_t> tokens;        ///< as sent: bytes, or ids where a client sends those
  std::optional<std::string> suffix;  ///< what stands behind the gap
};

/// A request for text, whichever API it came by.
struct TextRequest {
  Api api = Api::kCompletion;
  std::string model;  ///< "": the first that is served
  std::vector<Prompt> prompts;
  std::optional<int64_t> max_tokens;  ///< nothing: what the context has room for
  SamplingOptions sampling{.temperature = 1.0, .top_k = 0};
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  int64_t n = 1, best_of = 1;  ///< of best_of texts of each prompt the n likeliest are returned
  int64_t top_logprobs = -1;   ///< -1: no logprobs at all
  bool echo = false;           ///< the prompt stands before the text
  bool stream = false, include_usage = false;
  std::optional<std::chrono::milliseconds> time_limit;
  std::vector<std::string> response_fields;  ///< llama-server's choice of the reply's fields

  int64_t texts() const { return static_cast<int64_t>(prompts.size()) * best_of; }
};

/// What a request may ask for at most.
struct RequestLimits {
  int64_t max_prompt = 256 << 10;  ///< bytes of a prompt and its suffix
  int64_t max_tokens = 32768;      ///< bytes to write
  int64_t max_texts = 256;         ///< prompts times texts of each
};

}  // namespace axl
