#pragma once

#include <nlohmann/json.hpp>

#include "serve/text_request.h"

namespace axl {

/// The bodies of llama-server's /completion and /infill, with that server's defaults (temperature
/// 0.8, top_k 40, top_p 0.95, min_p 0.05). What concerns only how llama-server works (slots,
/// caches) is accepted and means nothing; what would change the text and is not supported throws an
/// ApiError that names it, as does what is wrong, unknown or beyond `limits`.
TextRequest parse_llama_completion(const nlohmann::json& body, const RequestLimits& limits);
/// input_extra's texts stand before input_prefix, and prompt, the part of the line before the
/// cursor, behind it.
TextRequest parse_infill(const nlohmann::json& body, const RequestLimits& limits);

}  // namespace axl
