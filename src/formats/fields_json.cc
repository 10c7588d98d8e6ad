#include "axl/formats/fields_json.h"

#include <cmath>
#include <type_traits>
#include <variant>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "json.h"

namespace axl {
namespace {

using nlohmann::json;

/// JSON has no infinity and no NaN; no field may hold one.
void check_finite(double value) { AXL_CHECK(std::isfinite(value)); }
void check_finite(const std::vector<double>& values) {
  for (const double value : values) check_finite(value);
}
template <class T>
void check_finite(const T&) {}

bool holds_text(const Field& field) {
  return std::holds_alternative<std::string*>(field.target) ||
         std::holds_alternative<std::vector<std::string>*>(field.target);
}

/// A single JSON value as set_field takes it.
std::string scalar_text(const json& value, const Field& field, const std::string& where) {
  if (value.is_string() != holds_text(field) || value.is_null() || value.is_structured()) {
    throw Error(
        format("{}: {} has a value of the wrong type ({})", where, field.name, value.type_name()));
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::string fields_to_json(const Fields& fields) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const Field& field : fields) {
    std::visit(
        [&](const auto* target) {
          check_finite(*target);
          object[field.name] = *target;
          const json& value = object[field.name];
          if (field.one_or_list && value.size() == 1) object[field.name] = json(value.front());
        },
        field.target);
  }
  try {
    return object.dump();
  } catch (const json::exception& e) {  // a string that is not UTF-8
    throw Error(format("the configuration cannot be written as JSON: {}", e.what()));
  }
}

void fields_from_json(const std::string& text, const Fields& fields, const std::string& where) {
  const json object = parse_json(text, 2, where);
  if (!object.is_object()) throw Error(where + ": a JSON object of keys and values is needed");
  for (const auto& [name, value] : object.items()) {
    const Field& field = find_field(fields, name, where);
    FieldText items{value.is_array(), {}};
    if (!value.is_array()) {
      items.items.push_back(scalar_text(value, field, where));
    } else {
      for (const json& item : value) items.items.push_back(scalar_text(item, field, where));
    }
    set_field(field, items, where);
  }
}

}  // namespace axl
