#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "serve/api_error.h"

namespace axl {

/// The body of a request: one JSON object, nested at most 16 deep, in which no key is there twice.
/// Throws ApiError 400.
nlohmann::json parse_body(std::string_view body);

/// The fields of a request's object. Each read marks its field as known; null counts as absent, as
/// clients write it. Whatever is of another type or out of range throws an ApiError that names it.
class JsonFields {
 public:
  /// `path` is what stands before each name in messages: "" or "messages[0].". The object must
  /// outlive this.
  explicit JsonFields(const nlohmann::json& object, std::string path = "");

  const nlohmann::json* get(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t least, int64_t most);
  std::optional<double> number(const std::string& name, double least, double most);
  std::optional<bool> boolean(const std::string& name);
  std::optional<std::string> string(const std::string& name);
  /// A string, or an array of strings.
  std::vector<std::string> strings(const std::string& name);
  /// Bytes or, where a client sends ids, tokens: an array of integers in [0, most].
  std::vector<int32_t> tokens(const nlohmann::json& array, const std::string& name, int32_t most);

  /// Fields of which any value is as good as none.
  void ignore(std::initializer_list<const char*> names);
  /// A field that is not supported: absent, or the value that asks for nothing.
  void only(const std::string& name, const nlohmann::json& neutral);
  /// Throws for a field that nothing above has asked for.
  void reject_unknown() const;

  std::string full_name(const std::string& name) const { return path_ + name; }

 private:
  [[noreturn]] void wrong(const std::string& name, const nlohmann::json& value,
                          const std::string& expected) const;

  const nlohmann::json& object_;
  std::string path_;
  std::set<std::string> known_;
};

}  // namespace axl
