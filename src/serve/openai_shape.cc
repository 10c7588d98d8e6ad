#include "serve/openai_shape.h"

namespace axl {
namespace {

Reply or_null(const std::string& text) { return text.empty() ? Reply() : Reply(text); }

/// Whoever counts on max_tokens entries, as evaluation harnesses do, finds one for EOS, too.
std::vector<TokenInfo> with_eos(const CompletionPiece& piece) {
  std::vector<TokenInfo> tokens = piece.written;
  if (piece.eos) tokens.push_back(*piece.eos);
  return tokens;
}

}  // namespace

std::string finish_reason(const CompletionPiece& end) {
  return end.finish_reason == "eos" || end.finish_reason == "stop" ? "stop" : "length";
}

Reply OpenAiShape::frame(bool chunk, Reply choices) const {
  return {{"id", answer_.id()},
          {"object", object(chunk)},
          {"created", answer_.created()},
          {"model", answer_.model()},
          {"choices", std::move(choices)}};
}

Reply OpenAiShape::usage() const {
  const Answer::Usage u = answer_.usage();
  return {{"prompt_tokens", u.prompt},
          {"completion_tokens", u.completion},
          {"total_tokens", u.prompt + u.completion},
          {"prompt_tokens_details", {{"cached_tokens", u.cached}}}};
}

Reply OpenAiShape::whole() {
  Reply choices = Reply::array();
  for (const AnswerText& text : answer_.texts()) {
    Reply choice = {{"index", choices.size()}};
    choice.update(whole_choice(text));
    choice["finish_reason"] = finish_reason(text.all);
    choices.push_back(std::move(choice));
  }
  Reply reply = frame(false, std::move(choices));
  reply["usage"] = usage();
  if (Reply said = remarks(answer_); !said.is_null()) reply["axl"] = std::move(said);
  return reply;
}

Reply OpenAiShape::chunk(size_t text, Reply choice, const std::string& finish_reason) const {
  Reply indexed = {{"index", text}};
  indexed.update(choice);
  indexed["finish_reason"] = or_null(finish_reason);
  Reply reply = frame(true, Reply::array({std::move(indexed)}));
  if (answer_.request().include_usage) reply["usage"] = nullptr;
  if (finish_reason.empty()) return reply;
  if (Reply said = remarks(answer_); !said.is_null()) reply["axl"] = std::move(said);
  return reply;
}

std::vector<Reply> OpenAiShape::closing() {
  if (!answer_.request().include_usage) return {};
  Reply reply = frame(true, Reply::array());
  reply["usage"] = usage();
  return {std::move(reply)};
}

CompletionShape::CompletionShape(const Answer& answer)
    : OpenAiShape(answer), echoes_(answer.texts().size()) {
  for (const AnswerText& text : answer.texts()) logprobs_.push_back(new_logprobs(text));
}

const AnswerPrompt& CompletionShape::prompt_of(size_t text) const {
  return answer_.prompts()[answer_.texts()[text].prompt];
}

/// Offsets count from the beginning of the prompt, whether it is echoed or not.
CompletionLogprobs CompletionShape::new_logprobs(const AnswerText& text) const {
  const AnswerPrompt& prompt = answer_.prompts()[text.prompt];
  return CompletionLogprobs(answer_.request().echo ? 0 : utf8_length(valid_utf8(prompt.text)));
}

Reply CompletionShape::whole_choice(const AnswerText& text) {
  const bool echo = answer_.request().echo;
  const std::string before = echo ? answer_.prompts()[text.prompt].text : "";
  Reply logprobs;
  if (wants_logprobs()) {
    std::vector<TokenInfo> tokens = text.all.prompt;
    const std::vector<TokenInfo> written = with_eos(text.all);
    tokens.insert(tokens.end(), written.begin(), written.end());
    logprobs = new_logprobs(text).piece(tokens, echo);
  }
  return {{"text", valid_utf8(before + text.all.text)}, {"logprobs", std::move(logprobs)}};
}

Reply CompletionShape::text_chunk(size_t text, const std::string& part,
                                  const std::vector<TokenInfo>& tokens,
                                  const std::string& finish_reason, bool first) {
  Reply logprobs;
  if (wants_logprobs() && !tokens.empty()) logprobs = logprobs_[text].piece(tokens, first);
  return chunk(text, {{"text", part}, {"logprobs", std::move(logprobs)}}, finish_reason);
}

std::vector<Reply> CompletionShape::opening(size_t text) {
  if (!answer_.request().echo) return {};
  echoes_[text].due = wants_logprobs();
  if (echoes_[text].due) return {};
  return {text_chunk(text, streams_[text].push(prompt_of(text).text), {}, "")};
}

std::vector<Reply> CompletionShape::piece(size_t text, const CompletionPiece& piece) {
  std::vector<Reply> events;
  Echo& echo = echoes_[text];
  if (echo.due) {
    echo.scores.insert(echo.scores.end(), piece.prompt.begin(), piece.prompt.end());
    if (static_cast<int64_t>(echo.scores.size()) < prompt_of(text).tokens && !piece.last) return {};
    events.push_back(
        text_chunk(text, streams_[text].push(prompt_of(text).text), echo.scores, "", true));
    echo = {};
  }
  std::string part = streams_[text].push(piece.text);
  if (piece.last) part += streams_[text].flush();
  const std::vector<TokenInfo> tokens = with_eos(piece);
  if (!part.empty() || !tokens.empty()) events.push_back(text_chunk(text, part, tokens, ""));
  if (piece.last) events.push_back(text_chunk(text, "", {}, finish_reason(piece)));
  return events;
}

Reply ChatShape::whole_choice(const AnswerText& text) {
  const bool wanted = answer_.request().top_logprobs >= 0;
  return {{"message",
           {{"role", "assistant"}, {"content", valid_utf8(text.all.text)}, {"refusal", nullptr}}},
          {"logprobs", wanted ? chat_logprobs(text.all.written) : Reply()}};
}

Reply ChatShape::delta_chunk(size_t text, Reply delta, const std::vector<TokenInfo>& tokens,
                             const std::string& finish_reason) {
  const bool wanted = answer_.request().top_logprobs >= 0 && !tokens.empty();
  return chunk(
      text, {{"delta", std::move(delta)}, {"logprobs", wanted ? chat_logprobs(tokens) : Reply()}},
      finish_reason);
}

std::vector<Reply> ChatShape::opening(size_t text) {
  return {delta_chunk(text, {{"role", "assistant"}, {"content", ""}}, {}, "")};
}

std::vector<Reply> ChatShape::piece(size_t text, const CompletionPiece& piece) {
  std::vector<Reply> events;
  std::string part = streams_[text].push(piece.text);
  if (piece.last) part += streams_[text].flush();
  if (!part.empty() || !piece.written.empty())
    events.push_back(delta_chunk(text, {{"content", part}}, piece.written, ""));
  if (piece.last) events.push_back(delta_chunk(text, Reply::object(), {}, finish_reason(piece)));
  return events;
}

}  // namespace axl
