#pragma once

#include <nlohmann/json.hpp>

namespace axl {

using Json = nlohmann::ordered_json;

/// One object on stdout, for --json. Bytes that are not UTF-8 become U+FFFD.
void print_json(const Json& json);

}  // namespace axl
