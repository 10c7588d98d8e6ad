#include "axl/base/fields.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"

namespace axl {
namespace {

template <class T>
constexpr bool kIsList = false;
template <class T>
constexpr bool kIsList<std::vector<T>> = true;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

[[noreturn]] void refuse_text(std::string_view text, const char* why) {
  throw UsageError(format("'{}': {}; write a value, \"a quoted value\" or [a, list]", text, why));
}

char unescaped(char c) { return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c; }

/// Reads one value from the front of `rest`: quoted, or plain up to a comma if `in_list`.
std::string take_item(std::string_view text, std::string_view& rest, bool in_list) {
  if (rest.empty() || rest[0] != '"') {
    const size_t size = in_list ? std::min(rest.find(','), rest.size()) : rest.size();
    const std::string_view item = trimmed(rest.substr(0, size));
    rest.remove_prefix(size);
    return std::string(item);
  }
  std::string item;
  size_t i = 1;
  for (; i < rest.size() && rest[i] != '"'; ++i) {
    const bool escape = rest[i] == '\\' && i + 1 < rest.size();
    item += escape ? unescaped(rest[++i]) : rest[i];
  }
  if (i >= rest.size()) refuse_text(text, "no closing quote");
  rest = trimmed(rest.substr(i + 1));
  return item;
}

std::vector<std::string> take_list(std::string_view text, std::string_view rest) {
  std::vector<std::string> items;
  if (rest.empty()) return items;
  for (;;) {
    const bool quoted = rest.starts_with('"');
    items.push_back(take_item(text, rest, true));
    if (items.back().empty() && !quoted) refuse_text(text, "an element of the list is missing");
    if (rest.empty()) return items;
    if (rest[0] != ',') refuse_text(text, "a comma is missing after a quoted value");
    rest = trimmed(rest.substr(1));
  }
}

/// What a field expects, as one value and its limits: "a number from 0 to 1".
std::string kind(const bool&) { return "true or false"; }
std::string kind(const int64_t&) { return "a whole number"; }
std::string kind(const double&) { return "a finite number"; }
std::string kind(const std::string&) { return "text"; }

template <class T>
std::string expectation(const Field& field) {
  if (!field.choices.empty()) return format("one of {}", fmt::join(field.choices, ", "));
  const bool low = std::isfinite(field.min), high = std::isfinite(field.max);
  const std::string what = kind(T());
  if (low && high) return format("{} from {} to {}", what, field.min, field.max);
  if (low) return format("{} of at least {}", what, field.min);
  if (high) return format("{} of at most {}", what, field.max);
  return what;
}

/// The whole of `text` as a number, nothing before, nothing behind.
template <class Number>
bool parse(const std::string& text, Number& out) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, out);
  return code == std::errc() && stop == end;
}

bool parse(const std::string& text, bool& out) {
  out = text == "true";
  return out || text == "false";
}

bool parse(const std::string& text, std::string& out) {
  out = text;
  return true;
}

template <class T>
bool allowed(const Field& field, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    const auto& choices = field.choices;
    return choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end();
  } else if constexpr (std::is_same_v<T, bool>) {
    return true;
  } else {
    const auto number = static_cast<double>(value);
    return std::isfinite(number) && number >= field.min && number <= field.max;
  }
}

template <class T>
T parse_one(const Field& field, const std::string& text, const std::string& where) {
  T value{};
  if (parse(text, value) && allowed(field, value)) return value;
  throw UsageError(format("{}: {} is '{}', but it must be {}{}", where, field.name, text,
                          expectation<T>(field), did_you_mean(text, field.choices)));
}

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(int64_t value) { return format("{}", value); }

std::string text_of(double value) {
  char text[32];  // the shortest exact form of a double takes 24
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

bool is_plain(const std::string& text) {
  const auto safe = [](unsigned char c) {
    return c >= 0x80 || std::isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-' || c == '+';
  };
  if (text.empty() || text[0] == '-' || text == "null" || text == "Null" || text == "NULL") {
    return false;  // a YAML reader would take these for something else
  }
  return std::all_of(text.begin(), text.end(), safe);
}

std::string text_of(const std::string& value) {
  if (is_plain(value)) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : std::string(1, c);
  }
  return quoted + '"';
}

template <class T>
std::string text_of(const std::vector<T>& values) {
  std::vector<std::string> items;
  for (const T& value : values) items.push_back(text_of(value));
  return format("[{}]", fmt::join(items, ", "));
}

/// "lr" for "train.lr": the key without the name of its section.
std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

std::string suggestion(const Fields& fields, const std::string& name) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.push_back(field.name);
  const std::string near = did_you_mean(name, names);
  if (!near.empty()) return near;
  for (const std::string& known : names) {
    if (last_part(known) == last_part(name)) return format("; did you mean '{}'?", known);
  }
  return format("; known are {}", fmt::join(names, ", "));
}

}  // namespace

FieldText parse_field_text(const std::string& text) {
  std::string_view rest = trimmed(text);
  if (rest.starts_with('[')) {
    if (!rest.ends_with(']') || rest.size() < 2) refuse_text(text, "no closing bracket");
    return {true, take_list(text, trimmed(rest.substr(1, rest.size() - 2)))};
  }
  FieldText value{false, {take_item(text, rest, false)}};
  if (!rest.empty()) refuse_text(text, "something follows the closing quote");
  return value;
}

void set_field(const Field& field, const FieldText& value, const std::string& where) {
  std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (kIsList<T>) {
          T list;
          for (const std::string& item : value.items) {
            list.push_back(parse_one<typename T::value_type>(field, item, where));
          }
          *target = std::move(list);
        } else {
          if (value.is_list) {
            throw UsageError(format("{}: {} is a list, but it must be {}", where, field.name,
                                    expectation<T>(field)));
          }
          AXL_CHECK(value.items.size() == 1);
          *target = parse_one<T>(field, value.items[0], where);
        }
      },
      field.target);
}

std::string field_text(const Field& field) {
  return std::visit(
      [&](const auto* target) {
        if constexpr (kIsList<std::remove_cvref_t<decltype(*target)>>)
          if (field.one_or_list && target->size() == 1) return text_of(target->front());
        return text_of(*target);
      },
      field.target);
}

const Field& find_field(const Fields& fields, const std::string& name, const std::string& where) {
  for (const Field& field : fields) {
    if (field.name == name) return field;
  }
  throw UsageError(format("{}: there is no key '{}'{}", where, name, suggestion(fields, name)));
}

}  // namespace axl
