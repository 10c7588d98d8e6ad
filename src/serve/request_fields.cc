#include "serve/request_fields.h"

#include "axl/base/format.h"
#include "axl/base/tokens.h"

namespace axl {

using nlohmann::json;

namespace {

constexpr size_t kMaxStops = 64, kMaxStopBytes = 1024;

Prompt prompt_of_ids(JsonFields& fields, const json& ids, const std::string& name) {
  Prompt prompt{fields.tokens(ids, name, kVocab - 1), {}};
  if (!prompt.tokens.empty() && prompt.tokens.front() == kBos)
    prompt.tokens.erase(prompt.tokens.begin());
  return prompt;
}

Prompt prompt_of_text(const json& text) {
  return {bytes_of(text.get_ref<const std::string&>()), {}};
}

void read_stop(JsonFields& fields, std::vector<std::string>& stop) {
  stop = fields.strings("stop");
  if (stop.size() > kMaxStops)
    throw bad_field("stop",
                    format("stop holds {} strings; {} are the most", stop.size(), kMaxStops));
  for (const std::string& s : stop)
    if (s.size() > kMaxStopBytes)
      throw bad_field(
          "stop", format("a stop string has {} bytes; {} are the most", s.size(), kMaxStopBytes));
  std::erase(stop, "");  // stops nothing
}

}  // namespace

std::vector<int32_t> bytes_of(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  return {bytes, bytes + text.size()};
}

std::vector<Prompt> read_prompts(JsonFields& fields, const std::string& name) {
  const json* value = fields.get(name);
  if (!value) throw ApiError(400, format("{} is missing", name), "missing_parameter", name);
  if (value->is_string()) return {prompt_of_text(*value)};
  if (!value->is_array() || value->empty())
    throw bad_field(name, format("{} must be a string, an array of strings, an array of token ids "
                                 "or an array of such arrays, and not empty",
                                 name));
  if (value->front().is_number()) return {prompt_of_ids(fields, *value, name)};
  std::vector<Prompt> prompts;
  for (const json& element : *value) {
    const std::string element_name = format("{}[{}]", name, prompts.size());
    if (element.type() != value->front().type() || !(element.is_string() || element.is_array()))
      throw bad_field(name,
                      format("{} must be {}", element_name,
                             value->front().is_array() ? "an array of token ids" : "a string"));
    prompts.push_back(element.is_string() ? prompt_of_text(element)
                                          : prompt_of_ids(fields, element, element_name));
  }
  return prompts;
}

void read_sampling(JsonFields& fields, double max_temperature, TextRequest& request) {
  SamplingOptions& s = request.sampling;
  s.temperature = fields.number("temperature", 0, max_temperature).value_or(s.temperature);
  s.top_k = fields.integer("top_k", -1, 1 << 20).value_or(s.top_k);
  s.top_p = fields.number("top_p", 0, 1).value_or(s.top_p);
  s.min_p = fields.number("min_p", 0, 1).value_or(s.min_p);
  if (s.top_k < 0) s.top_k = 0;  // off, as other servers write it
  // Of a nucleus of no mass the likeliest token remains.
  if (s.top_p == 0) s.top_k = 1, s.top_p = 1;
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) request.seed = *seed;
  read_stop(fields, request.stop);
}

void check_limits(const TextRequest& request, const RequestLimits& limits) {
  for (const Prompt& prompt : request.prompts) {
    const size_t bytes = prompt.tokens.size() + (prompt.suffix ? prompt.suffix->size() : 0);
    if (static_cast<int64_t>(bytes) > limits.max_prompt)
      throw ApiError(
          400,
          format("a prompt has {} bytes; this server takes {} at most", bytes, limits.max_prompt),
          "context_length_exceeded", request.api == Api::kChat ? "messages" : "prompt");
  }
  if (request.texts() > limits.max_texts)
    throw ApiError(
        400,
        format("{} texts are asked for (prompts times n or best_of); this server writes {} at "
               "most for a request",
               request.texts(), limits.max_texts),
        "too_many_texts", "n");
}

}  // namespace axl
