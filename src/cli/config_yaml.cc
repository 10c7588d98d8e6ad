#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "cli/config_file.h"

namespace axl {
namespace {

/// Reads a document into the fields of a configuration.
class Reader {
 public:
  Reader(const std::string& file, Fields fields) : file_(file), fields_(std::move(fields)) {
    for (const Field& field : fields_) {
      size_t dot = field.name.find('.');
      top_.push_back(field.name.substr(0, dot));
      for (; dot != std::string::npos; dot = field.name.find('.', dot + 1))
        sections_.insert(field.name.substr(0, dot));
    }
  }

  void read(const YAML::Node& root) {
    if (!root.IsMap()) {
      throw UsageError(
          format("{}: expected a configuration, lines of 'key: value', but it holds {}", file_,
                 root.IsNull() ? "nothing" : "something else"));
    }
    for (const auto& entry : root) {
      const YAML::Node &key = entry.first, &value = entry.second;
      const std::string name = read_key(key, "");
      if (sections_.contains(name)) {
        read_section(name, value, at(key));
      } else if (std::find(top_.begin(), top_.end(), name) != top_.end()) {
        read_value(name, key, value);
      } else {
        throw UsageError(format("{}: unknown key '{}'{}", at(key), name, did_you_mean(name, top_)));
      }
    }
  }

 private:
  std::string at(const YAML::Node& node) const {
    return format("{}:{}", file_, node.Mark().line + 1);
  }

  /// The full name of a key, which must not have been seen before.
  std::string read_key(const YAML::Node& key, const std::string& prefix) {
    if (!key.IsScalar()) throw UsageError(format("{}: a key must be a word", at(key)));
    const std::string name = prefix + key.Scalar();
    if (!seen_.insert(name).second) {
      throw UsageError(format("{}: '{}' is here for the second time", at(key), name));
    }
    return name;
  }

  void read_section(const std::string& name, const YAML::Node& section, const std::string& where) {
    if (!section.IsMap()) {
      throw UsageError(format("{}: expected keys below '{}:', indented", where, name));
    }
    for (const auto& entry : section) {
      const std::string inner = read_key(entry.first, name + ".");
      if (sections_.contains(inner)) {
        read_section(inner, entry.second, at(entry.first));
      } else if (entry.second.IsMap() && !is_field(inner)) {
        throw UsageError(format("{}: there is no section '{}'{}", at(entry.first), inner,
                                did_you_mean(inner, {sections_.begin(), sections_.end()})));
      } else {
        read_value(inner, entry.first, entry.second);
      }
    }
  }

  bool is_field(const std::string& name) const {
    return std::any_of(fields_.begin(), fields_.end(),
                       [&](const Field& field) { return field.name == name; });
  }

  void read_value(const std::string& name, const YAML::Node& key, const YAML::Node& value) {
    const Field& field = find_field(fields_, name, at(key));
    if (value.IsNull()) {
      throw UsageError(
          format("{}: '{}' has no value; leave the key out for the default, or write "
                 "\"\" or [] for nothing",
                 at(key), name));
    }
    set_field(field, text_of(name, value), at(key));
  }

  FieldText text_of(const std::string& name, const YAML::Node& value) const {
    if (value.IsScalar()) return {false, {value.Scalar()}};
    FieldText text{true, {}};
    if (!value.IsSequence()) {
      throw UsageError(format("{}: '{}' must be a value or a list of values", at(value), name));
    }
    for (const YAML::Node& item : value) {
      if (!item.IsScalar()) {
        throw UsageError(format("{}: the list '{}' must hold plain values", at(item), name));
      }
      text.items.push_back(item.Scalar());
    }
    return text;
  }

  std::string file_;
  Fields fields_;
  std::vector<std::string> top_;
  std::set<std::string> sections_, seen_;
};

std::string choices_comment(const Field& field) {
  std::string text;
  for (const std::string& choice : field.choices) text += (text.empty() ? ": " : ", ") + choice;
  return text;
}

}  // namespace

Config parse_config(const std::string& text, const std::string& where, Config defaults) {
  Config config = std::move(defaults);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      throw UsageError(format("{}: holds {} documents; expected one", where, documents.size()));
    }
    Reader(where, config.fields()).read(documents.empty() ? YAML::Node() : documents.front());
  } catch (const YAML::Exception& e) {
    throw UsageError(format("{}:{}: not valid YAML: {}", where, e.mark.line + 1, e.msg));
  }
  return config;
}

std::string config_yaml(const Config& config) {
  Config copy = config;
  std::string text, open;  // sections begun: "model." or "model.ngram."
  for (const Field& field : copy.fields()) {
    const std::string sections = field.name.substr(0, field.name.rfind('.') + 1);
    const std::string key = field.name.substr(sections.size());
    std::string indent;
    for (size_t begin = 0; begin < sections.size();) {
      const size_t end = sections.find('.', begin) + 1;
      if (!open.starts_with(sections.substr(0, end)))
        text += format("{}{}{}:\n", begin == 0 ? "\n" : "", indent,
                       sections.substr(begin, end - begin - 1));
      indent += "  ";
      begin = end;
    }
    open = sections;
    text += format("{}# {}{}\n", indent, field.help, choices_comment(field));
    text += format("{}{}: {}\n", indent, key, field_text(field));
  }
  return text;
}

}  // namespace axl
