#include "axl/formats/jsonl.h"

#include <nlohmann/json.hpp>

#include "axl/base/error.h"
#include "axl/base/format.h"

namespace axl {
namespace {

using nlohmann::json;

constexpr const char* kExpected =
    R"(expected {"text": "…"}, {"content": "…"} or {"source_code": "…", "target_code": "…"})";

json parse_object(std::string_view line, const std::string& where) {
  json value;
  try {
    value = json::parse(line);
  } catch (const json::exception& error) {
    throw Error(format("{}: malformed JSON ({}); {}", where, error.what(), kExpected));
  }
  if (!value.is_object()) {
    throw Error(format("{}: a JSON {}, not an object; {}", where, value.type_name(), kExpected));
  }
  return value;
}

std::string take_string(json& record, const char* key, const std::string& where) {
  const auto found = record.find(key);
  if (found == record.end()) {
    throw Error(format("{}: the record has no \"{}\"; {}", where, key, kExpected));
  }
  if (!found->is_string()) {
    throw Error(format("{}: \"{}\" is a {}, not a string", where, key, found->type_name()));
  }
  return std::move(found->get_ref<std::string&>());
}

}  // namespace

JsonRecord parse_json_record(std::string_view line, const std::string& where) {
  json record = parse_object(line, where);
  if (record.contains("source_code") || record.contains("target_code")) {
    return {.is_pair = true,
            .source = take_string(record, "source_code", where),
            .target = take_string(record, "target_code", where)};
  }
  const char* key = record.contains("content") && !record.contains("text") ? "content" : "text";
  return {.is_pair = false, .source = {}, .target = take_string(record, key, where)};
}

}  // namespace axl
