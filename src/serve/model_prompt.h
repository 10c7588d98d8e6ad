#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "axl/model/config.h"
#include "serve/text_request.h"

namespace axl {

/// A prompt as one model reads it.
struct ModelPrompt {
  std::vector<int32_t> tokens;  ///< BOS left out
  int64_t dropped = 0;          ///< bytes of prefix and suffix that the context has no room for
  std::string around;           ///< what it does not read of them, from which guesses are made
  bool suffix_unused = false;   ///< there was one, of which this model can make nothing
};

/// A text that begins with <fim_prefix> or <fim_suffix>, holds each of these two once and ends with
/// <fim_middle>, as editors write it for models that they do not know, is the prefix and suffix
/// that it names; any other prompt stays as it is.
Prompt read_fill_literals(Prompt prompt);

/// Where the prompt has a suffix: both within the model's own marks (fill_in_middle_prompt, `room`
/// bytes being left to write) if it was trained with them, else the prefix alone. Without one: the
/// tokens as they are, however long; the engine cuts them. Throws ApiError for a gap in ids of
/// which some are no bytes.
ModelPrompt model_prompt(const Prompt& prompt, const ModelConfig& config, int64_t room);

/// The bytes among the tokens.
std::string text_of(const std::vector<int32_t>& tokens);

}  // namespace axl
