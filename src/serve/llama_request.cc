#include "serve/llama_request.h"

#include <algorithm>

#include "axl/base/format.h"
#include "serve/request_fields.h"

namespace axl {

using nlohmann::json;

namespace {

constexpr int64_t kMaxMilliseconds = 3600 * 1000;

/// Fields that would change the text, and what they are when they do not.
void reject_samplers(JsonFields& fields) {
  for (const char* name : {"repeat_penalty", "typical_p", "tfs_z", "dynatemp_exponent"})
    fields.only(name, 1);
  for (const char* name : {"presence_penalty", "frequency_penalty", "mirostat", "dynatemp_range",
                           "dry_multiplier", "xtc_probability", "n_probs", "n_discard"})
    fields.only(name, 0);
  for (const char* name : {"ignore_eos", "post_sampling_probs", "return_tokens"})
    fields.only(name, false);
  for (const char* name : {"grammar", "json_schema"}) {
    const json* value = fields.get(name);
    if (value && *value != "") fields.only(name, json::object());
  }
  for (const char* name : {"logit_bias", "image_data", "lora"}) fields.only(name, json::array());
}

void ignore_machinery(JsonFields& fields) {
  fields.ignore({"cache_prompt",
                 "id_slot",
                 "slot_id",
                 "n_keep",
                 "n_indent",
                 "samplers",
                 "repeat_last_n",
                 "penalize_nl",
                 "penalty_prompt",
                 "mirostat_tau",
                 "mirostat_eta",
                 "min_keep",
                 "xtc_threshold",
                 "dry_base",
                 "dry_allowed_length",
                 "dry_penalty_last_n",
                 "dry_sequence_breakers",
                 "timings_per_token",
                 "n_cache_reuse",
                 "return_progress",
                 "speculative.n_max",
                 "speculative.n_min",
                 "speculative.p_min",
                 "user"});
}

/// A time after which what has been written is the answer, for both phases together.
std::optional<std::chrono::milliseconds> read_time_limit(JsonFields& fields) {
  const int64_t prompt = fields.integer("t_max_prompt_ms", -1, kMaxMilliseconds).value_or(0);
  const int64_t write = fields.integer("t_max_predict_ms", -1, kMaxMilliseconds).value_or(0);
  if (write <= 0) return {};  // off
  return std::chrono::milliseconds(std::max<int64_t>(prompt, 0) + write);
}

TextRequest read_common(JsonFields& fields, const RequestLimits& limits) {
  TextRequest request;
  request.api = Api::kLlama;
  request.model = fields.string("model").value_or("");
  request.sampling = {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05};
  read_sampling(fields, 100, request);
  if (request.seed == uint64_t(-1)) request.seed.reset();  // llama-server's "any"
  request.stream = fields.boolean("stream").value_or(false);
  // -1: until the model ends it, -2: until the context is full.
  const int64_t most = limits.max_tokens;
  for (const char* name : {"max_tokens", "n_predict"})
    if (const auto n = fields.integer(name, -2, most); n)
      request.max_tokens = *n < 0 ? std::optional<int64_t>() : n;
  request.time_limit = read_time_limit(fields);
  request.response_fields = fields.strings("response_fields");
  reject_samplers(fields);
  ignore_machinery(fields);
  return request;
}

/// The texts of other files that the editor sends along.
std::string read_extra(JsonFields& fields) {
  const json* value = fields.get("input_extra");
  if (!value) return "";
  if (!value->is_array()) throw bad_field("input_extra", "input_extra must be an array of objects");
  std::string text;
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string name = format("input_extra[{}]", i);
    if (!(*value)[i].is_object()) throw bad_field(name, format("{} must be an object", name));
    JsonFields extra((*value)[i], name + ".");
    const auto part = extra.string("text");
    if (part) text += *part + "\n";
  }
  return text;
}

}  // namespace

TextRequest parse_llama_completion(const json& body, const RequestLimits& limits) {
  JsonFields fields(body);
  TextRequest request = read_common(fields, limits);
  request.prompts = read_prompts(fields, "prompt");
  if (request.prompts.size() > 1)
    throw bad_field("prompt", "prompt must be one text; /v1/completions takes several");
  fields.reject_unknown();
  check_limits(request, limits);
  return request;
}

TextRequest parse_infill(const json& body, const RequestLimits& limits) {
  JsonFields fields(body);
  TextRequest request = read_common(fields, limits);
  const auto prefix = fields.string("input_prefix"), suffix = fields.string("input_suffix");
  if (!prefix && !suffix)
    throw ApiError(400, "input_prefix and input_suffix are missing", "missing_parameter",
                   "input_prefix");
  const std::string extra = read_extra(fields);
  const std::string line = fields.string("prompt").value_or("");
  request.prompts.push_back({bytes_of(extra + prefix.value_or("") + line), suffix.value_or("")});
  fields.reject_unknown();
  check_limits(request, limits);
  return request;
}

}  // namespace axl
