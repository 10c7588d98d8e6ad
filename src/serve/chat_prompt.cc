#include "serve/chat_prompt.h"

#include <map>

#include "axl/base/format.h"

namespace axl {

using nlohmann::json;

namespace {

struct Message {
  std::string role, text;
};

const std::map<std::string, std::string>& headings() {
  static const std::map<std::string, std::string> names = {
      {"system", "System"}, {"developer", "System"}, {"user", "User"}, {"assistant", "Assistant"}};
  return names;
}

/// A part of a message that consists of several.
std::string read_part(const json& part, const std::string& name) {
  if (!part.is_object()) throw bad_field(name, format("{} must be an object", name));
  JsonFields fields(part, name + ".");
  const std::string type = fields.string("type").value_or("");
  if (type != "text")
    throw ApiError(400,
                   format("{}.type is not supported; this server reads parts of type text", name),
                   "unsupported_parameter", name + ".type");
  const auto text = fields.string("text");
  if (!text) throw bad_field(name + ".text", format("{}.text is missing", name));
  return *text;
}

std::string read_content(JsonFields& message, bool may_lack) {
  const json* content = message.get("content");
  const std::string name = message.full_name("content");
  if (!content) {
    if (may_lack) return "";
    throw bad_field(name, format("{} is missing", name));
  }
  if (!content->is_array()) return *message.string("content");
  std::string text;
  for (size_t i = 0; i < content->size(); ++i)
    text += read_part((*content)[i], format("{}[{}]", name, i));
  return text;
}

Message read_message(const json& value, const std::string& name) {
  if (!value.is_object()) throw bad_field(name, format("{} must be an object", name));
  JsonFields fields(value, name + ".");
  const std::string role = fields.string("role").value_or("");
  const auto heading = headings().find(role);
  if (heading == headings().end())
    throw bad_field(name + ".role", format("{}.role must be system, developer, user or assistant; "
                                           "tools and functions are not supported",
                                           name));
  fields.only("tool_calls", json::array());
  fields.only("function_call", nullptr);
  fields.only("audio", nullptr);
  fields.ignore({"name", "refusal", "annotations"});
  Message message{heading->second, read_content(fields, role == "assistant")};
  fields.reject_unknown();
  return message;
}

}  // namespace

ChatPrompt flatten_chat(JsonFields& fields, const std::string& name) {
  const json* value = fields.get(name);
  if (!value) throw ApiError(400, format("{} is missing", name), "missing_parameter", name);
  if (!value->is_array() || value->empty())
    throw bad_field(name, format("{} must be an array of at least one message", name));
  std::vector<Message> messages;
  for (size_t i = 0; i < value->size(); ++i)
    messages.push_back(read_message((*value)[i], format("{}[{}]", name, i)));
  if (messages.size() == 1) return {messages[0].text, {}};
  ChatPrompt prompt{"", {"\n\nUser:"}};
  for (const Message& m : messages) {
    if (!prompt.text.empty()) prompt.text += "\n\n";
    prompt.text += m.role + ": " + m.text;
  }
  if (messages.back().role != "Assistant") prompt.text += "\n\nAssistant:";
  return prompt;
}

}  // namespace axl
