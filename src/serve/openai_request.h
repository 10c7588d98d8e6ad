#pragma once

#include <nlohmann/json.hpp>

#include "serve/text_request.h"

namespace axl {

/// The bodies of OpenAI's /v1/completions and /v1/chat/completions and of /v1/fim/completions, as
/// other servers have it: {prompt, suffix} answered in the shape of chat. Parameters mean what
/// OpenAI's reference says, with top_k, min_p and more than four stop strings besides. Whatever is
/// not supported, not known, of a wrong type or beyond `limits` throws an ApiError that names it.
TextRequest parse_completion(const nlohmann::json& body, const RequestLimits& limits);
TextRequest parse_chat(const nlohmann::json& body, const RequestLimits& limits);
TextRequest parse_fill(const nlohmann::json& body, const RequestLimits& limits);

}  // namespace axl
