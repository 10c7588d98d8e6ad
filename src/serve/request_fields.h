#pragma once

#include "serve/json_fields.h"
#include "serve/text_request.h"

namespace axl {

/// Tokens of a text: its bytes.
std::vector<int32_t> bytes_of(std::string_view text);

/// A string, an array of strings, an array of ids or an array of such arrays. A beginning-of-text
/// id at the left is left out, since every prompt gets one.
std::vector<Prompt> read_prompts(JsonFields& fields, const std::string& name);

/// stop, seed, top_k, top_p, min_p, temperature.
void read_sampling(JsonFields& fields, double max_temperature, TextRequest& request);

/// Throws for prompts and numbers of texts beyond the limits.
void check_limits(const TextRequest& request, const RequestLimits& limits);

}  // namespace axl
