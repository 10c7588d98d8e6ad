#include "serve/openai_request.h"

#include "axl/base/format.h"
#include "serve/chat_prompt.h"
#include "serve/request_fields.h"

namespace axl {

using nlohmann::json;

namespace {

constexpr double kMaxTemperature = 2;
constexpr int64_t kMaxChoices = 128;

void read_stream_options(JsonFields& fields, TextRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const json* options = fields.get("stream_options");
  if (!options) return;
  if (!options->is_object()) throw bad_field("stream_options", "stream_options must be an object");
  if (!request.stream)
    throw bad_field("stream_options", "stream_options is allowed only with stream: true");
  JsonFields inner(*options, "stream_options.");
  request.include_usage = inner.boolean("include_usage").value_or(false);
  inner.only("include_obfuscation", false);
  inner.reject_unknown();
}

/// What all three have in common.
TextRequest read_common(JsonFields& fields, Api api) {
  TextRequest request;
  request.api = api;
  request.model = fields.string("model").value_or("");
  read_sampling(fields, kMaxTemperature, request);
  read_stream_options(fields, request);
  request.n = fields.integer("n", 1, kMaxChoices).value_or(1);
  request.best_of = request.n;
  for (const char* name : {"presence_penalty", "frequency_penalty"}) fields.only(name, 0);
  for (const char* name : {"repetition_penalty", "repeat_penalty"}) fields.only(name, 1);
  fields.only("logit_bias", json::object());
  // Tags of the sender's, which have no effect on the text.
  fields.ignore(
      {"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"});
  return request;
}

void read_best_of(JsonFields& fields, TextRequest& request) {
  request.best_of = fields.integer("best_of", 1, kMaxChoices).value_or(request.n);
  if (request.best_of < request.n)
    throw bad_field("best_of",
                    format("best_of is {}; it must be n, {}, or more", request.best_of, request.n));
  if (request.stream && request.best_of > request.n)
    throw bad_field("best_of", "best_of above n cannot be streamed");
}

void set_suffix(const std::optional<std::string>& suffix, TextRequest& request) {
  for (Prompt& prompt : request.prompts) prompt.suffix = suffix;
}

void read_chat_logprobs(JsonFields& fields, TextRequest& request) {
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0 && !wanted)
    throw bad_field("top_logprobs", "top_logprobs is allowed only with logprobs: true");
  if (wanted) request.top_logprobs = top.value_or(0);
}

/// Both names that clients know; the newer one counts.
std::optional<int64_t> read_max_tokens(JsonFields& fields, const RequestLimits& limits) {
  const auto older = fields.integer("max_tokens", 1, limits.max_tokens);
  const auto newer = fields.integer("max_completion_tokens", 1, limits.max_tokens);
  return newer ? newer : older;
}

/// What chat clients send to say that they want nothing special.
void reject_chat_features(JsonFields& fields) {
  fields.only("tools", json::array());
  fields.only("functions", json::array());
  const json* choice = fields.get("tool_choice");
  if (choice && *choice != "none" && *choice != "auto") fields.only("tool_choice", "none");
  fields.only("function_call", "none");
  fields.only("response_format", {{"type", "text"}});
  fields.only("modalities", json::array({"text"}));
  fields.only("store", false);
  const json* tier = fields.get("service_tier");
  if (tier && *tier != "auto") fields.only("service_tier", "default");
  fields.ignore({"parallel_tool_calls"});
  for (const char* name :
       {"audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"})
    fields.only(name, nullptr);
}

TextRequest finish(JsonFields& fields, TextRequest request, const RequestLimits& limits) {
  fields.reject_unknown();
  check_limits(request, limits);
  return request;
}

}  // namespace

TextRequest parse_completion(const json& body, const RequestLimits& limits) {
  JsonFields fields(body);
  TextRequest request = read_common(fields, Api::kCompletion);
  request.prompts = read_prompts(fields, "prompt");
  request.max_tokens = fields.integer("max_tokens", 0, limits.max_tokens).value_or(16);
  request.echo = fields.boolean("echo").value_or(false);
  request.top_logprobs = fields.integer("logprobs", 0, 5).value_or(-1);
  read_best_of(fields, request);
  if (const auto suffix = fields.string("suffix"); suffix && !suffix->empty()) {
    if (request.echo && request.top_logprobs >= 0)
      throw bad_field("echo", "echo with logprobs is not supported together with suffix");
    set_suffix(suffix, request);
  }
  return finish(fields, std::move(request), limits);
}

TextRequest parse_chat(const json& body, const RequestLimits& limits) {
  JsonFields fields(body);
  TextRequest request = read_common(fields, Api::kChat);
  ChatPrompt chat = flatten_chat(fields, "messages");
  request.prompts.push_back({bytes_of(chat.text), {}});
  request.stop.insert(request.stop.end(), chat.stop.begin(), chat.stop.end());
  request.max_tokens = read_max_tokens(fields, limits);
  read_chat_logprobs(fields, request);
  reject_chat_features(fields);
  return finish(fields, std::move(request), limits);
}

TextRequest parse_fill(const json& body, const RequestLimits& limits) {
  JsonFields fields(body);
  TextRequest request = read_common(fields, Api::kFill);
  request.prompts = read_prompts(fields, "prompt");
  set_suffix(fields.string("suffix").value_or(""), request);
  request.max_tokens = read_max_tokens(fields, limits);
  if (!request.max_tokens) request.max_tokens = 64;
  fields.only("min_tokens", 0);
  if (const auto seed = fields.integer("random_seed", 0, INT64_MAX)) request.seed = *seed;
  return finish(fields, std::move(request), limits);
}

}  // namespace axl
