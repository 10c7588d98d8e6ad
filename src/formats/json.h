#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace axl {

/// Parses JSON of at most `max_depth` nested objects and arrays, in which no object repeats a key
/// (plain nlohmann keeps the last one in silence). `what` ("x.safetensors: the header") begins the
/// message of the Error.
nlohmann::json parse_json(std::string_view text, int max_depth, const std::string& what);

}  // namespace axl
