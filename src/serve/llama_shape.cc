#include "serve/llama_shape.h"

#include <algorithm>

namespace axl {
namespace {

Reply timings(const CompletionPiece& end) {
  const auto part = [](const std::string& name, int64_t count, double seconds, Reply& to) {
    const double n = static_cast<double>(count), ms = 1000 * seconds;
    to[name + "_n"] = count;
    to[name + "_ms"] = ms;
    to[name + "_per_token_ms"] = count > 0 ? ms / n : 0.0;
    to[name + "_per_second"] = seconds > 0 ? n / seconds : 0.0;
  };
  Reply t = Reply::object();
  const int64_t read = end.prompt_tokens - end.prompt_dropped - end.prompt_reused;
  part("prompt", std::max<int64_t>(read, 0), end.prompt_seconds, t);
  part("predicted", end.new_tokens, end.write_seconds, t);
  return t;
}

const char* stop_type(const CompletionPiece& end) {
  if (end.finish_reason == "eos") return "eos";
  return end.finish_reason == "stop" ? "word" : "limit";
}

/// The value at "timings/prompt_n"; null where there is none.
Reply at_path(const Reply& reply, const std::string& path) {
  const size_t slash = path.find('/');
  const auto found = reply.is_object() ? reply.find(path.substr(0, slash)) : reply.end();
  if (!reply.is_object() || found == reply.end()) return {};
  return slash == path.npos ? *found : at_path(*found, path.substr(slash + 1));
}

Reply chosen(Reply reply, const std::vector<std::string>& fields) {
  if (fields.empty()) return reply;
  Reply result = Reply::object();
  for (const std::string& field : fields)
    if (Reply value = at_path(reply, field); !value.is_null()) result[field] = std::move(value);
  return result;
}

}  // namespace

Reply LlamaShape::final_reply(const std::string& content) const {
  const CompletionPiece& end = answer_.texts()[0].all;
  const AnswerPrompt& prompt = answer_.prompts()[0];
  Reply reply = {{"index", 0},
                 {"content", content},
                 {"tokens", Reply::array()},
                 {"id_slot", 0},
                 {"stop", true},
                 {"model", answer_.model()},
                 {"tokens_predicted", end.new_tokens},
                 {"tokens_evaluated", end.prompt_tokens - 1},
                 {"has_new_line", end.text.find('\n') != end.text.npos},
                 {"truncated", prompt.dropped > 0},
                 {"stop_type", stop_type(end)},
                 {"tokens_cached", end.prompt_reused},
                 {"timings", timings(end)}};
  if (Reply said = remarks(answer_); !said.is_null()) reply["axl"] = std::move(said);
  return chosen(std::move(reply), answer_.request().response_fields);
}

Reply LlamaShape::whole() { return final_reply(valid_utf8(answer_.texts()[0].all.text)); }

std::vector<Reply> LlamaShape::piece(size_t, const CompletionPiece& piece) {
  std::string part = utf8_.push(piece.text);
  if (piece.last) return {final_reply(part + utf8_.flush())};
  if (part.empty()) return {};
  return {{{"index", 0},
           {"content", part},
           {"tokens", Reply::array()},
           {"stop", false},
           {"id_slot", 0}}};
}

}  // namespace axl
