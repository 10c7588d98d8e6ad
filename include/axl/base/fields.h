#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace axl {

/// One key of a configuration, declared once: YAML, JSON, command-line overrides, `--help`,
/// validation and the documentation in config files all derive from it.
struct Field {
  using Target = std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*,
                              std::vector<double>*, std::vector<std::string>*>;
  std::string name;  ///< "d_model"; dotted when nested: "train.lr"
  Target target;     ///< where the value lives; lists are held to the range per element
  std::string help;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  ///< allowed strings; empty allows any
  bool one_or_list = false;               ///< a list of one is written as a plain value
};
using Fields = std::vector<Field>;

/// A value as text, as YAML and command lines have it.
struct FieldText {
  bool is_list = false;
  std::vector<std::string> items;  ///< exactly one when not a list
};

/// "1e-3" or "[1, 2, 4]" -> FieldText.
FieldText parse_field_text(const std::string& text);

/// Parses, checks the range and the choices, assigns. `where` ("axl.yaml:7", "--set") begins the
/// message of the UsageError. A single scalar is accepted for a list field as a list of one.
void set_field(const Field& field, const FieldText& value, const std::string& where);

/// The current value, written so that set_field reads it back exactly.
std::string field_text(const Field& field);

/// The field of that name; UsageError with the nearest name when there is none.
const Field& find_field(const Fields& fields, const std::string& name, const std::string& where);

}  // namespace axl
