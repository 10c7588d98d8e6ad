#include "serve/json_fields.h"

#include <cmath>

#include "axl/base/format.h"
#include "axl/base/text.h"
#include "formats/json.h"

namespace axl {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 16;
constexpr double kMaxExact = 9007199254740992.0;  // 2^53: doubles up to here are whole numbers

/// What a message shows of a value that may be long.
std::string shown(const json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 40 ? text : std::string("a ") + value.type_name();
}

/// 16 and 16.0 alike; nothing for anything else.
std::optional<int64_t> whole(const json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX)) return {};
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return {};
  const auto x = value.get<double>();
  if (!(std::abs(x) <= kMaxExact) || std::floor(x) != x) return {};
  return static_cast<int64_t>(x);
}

}  // namespace

json parse_body(std::string_view body) {
  json parsed;
  try {
    parsed = parse_json(body, kMaxDepth, "the request's body");
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "invalid_json");
  }
  if (!parsed.is_object())
    throw ApiError(400, "the request's body must be a JSON object", "invalid_json");
  return parsed;
}

JsonFields::JsonFields(const json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

void JsonFields::wrong(const std::string& name, const json& value,
                       const std::string& expected) const {
  throw ApiError(400, format("{} is {}; it must be {}", path_ + name, shown(value), expected),
                 "invalid_value", path_ + name);
}

const json* JsonFields::get(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> JsonFields::integer(const std::string& name, int64_t least, int64_t most) {
  const json* value = get(name);
  if (!value) return {};
  const std::optional<int64_t> x = whole(*value);
  if (!x || *x < least || *x > most)
    wrong(name, *value, format("a whole number in [{}, {}]", least, most));
  return x;
}

std::optional<double> JsonFields::number(const std::string& name, double least, double most) {
  const json* value = get(name);
  if (!value) return {};
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
    wrong(name, *value, format("a number in [{}, {}]", least, most));
  return value->get<double>();
}

std::optional<bool> JsonFields::boolean(const std::string& name) {
  const json* value = get(name);
  if (!value) return {};
  if (!value->is_boolean()) wrong(name, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::string(const std::string& name) {
  const json* value = get(name);
  if (!value) return {};
  if (!value->is_string()) wrong(name, *value, "a string");
  return value->get<std::string>();
}

std::vector<std::string> JsonFields::strings(const std::string& name) {
  const json* value = get(name);
  if (!value) return {};
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) wrong(name, *value, "a string or an array of strings");
  std::vector<std::string> result;
  for (const json& element : *value) {
    if (!element.is_string()) wrong(format("{}[{}]", name, result.size()), element, "a string");
    result.push_back(element.get<std::string>());
  }
  return result;
}

std::vector<int32_t> JsonFields::tokens(const json& array, const std::string& name, int32_t most) {
  if (!array.is_array()) wrong(name, array, "an array of whole numbers");
  std::vector<int32_t> result;
  result.reserve(array.size());
  for (const json& element : array) {
    const std::optional<int64_t> token = whole(element);
    if (!token || *token < 0 || *token > most)
      wrong(format("{}[{}]", name, result.size()), element,
            format("a whole number in [0, {}]", most));
    result.push_back(static_cast<int32_t>(*token));
  }
  return result;
}

void JsonFields::ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void JsonFields::only(const std::string& name, const json& neutral) {
  const json* value = get(name);
  if (!value || *value == neutral) return;
  throw ApiError(400,
                 format("{} is not supported; leave it out{}", path_ + name,
                        neutral.is_structured() ? "" : " or give " + neutral.dump()),
                 "unsupported_parameter", path_ + name);
}

void JsonFields::reject_unknown() const {
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    const std::string hint = did_you_mean(name, {known_.begin(), known_.end()});
    throw ApiError(400, format("{} is not a parameter of this request{}", path_ + name, hint),
                   "unknown_parameter", path_ + name);
  }
}

}  // namespace axl
