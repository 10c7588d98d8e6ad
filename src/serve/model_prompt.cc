#include "serve/model_prompt.h"

#include <algorithm>
#include <string_view>

#include "axl/base/tokens.h"
#include "axl/infer/fill_in_middle.h"
#include "serve/api_error.h"
#include "serve/request_fields.h"

namespace axl {
namespace {

constexpr std::string_view kPrefix = "<fim_prefix>", kSuffix = "<fim_suffix>",
                           kMiddle = "<fim_middle>";

bool occurs_once(std::string_view text, std::string_view part) {
  const size_t at = text.find(part);
  return at != text.npos && text.find(part, at + 1) == text.npos;
}

}  // namespace

std::string text_of(const std::vector<int32_t>& tokens) {
  std::string text;
  text.reserve(tokens.size());
  for (const int32_t token : tokens)
    if (token < 256) text += static_cast<char>(token);
  return text;
}

Prompt read_fill_literals(Prompt prompt) {
  if (prompt.suffix || prompt.tokens.empty() || prompt.tokens.front() != '<') return prompt;
  const std::string whole = text_of(prompt.tokens);
  std::string_view text = whole;
  if (!text.ends_with(kMiddle) || !occurs_once(text, kPrefix) || !occurs_once(text, kSuffix))
    return prompt;
  text.remove_suffix(kMiddle.size());
  const size_t prefix = text.find(kPrefix), suffix = text.find(kSuffix);
  if (std::min(prefix, suffix) != 0) return prompt;
  const std::string_view first =
      text.substr(kPrefix.size(), std::max(prefix, suffix) - kPrefix.size());
  const std::string_view second = text.substr(std::max(prefix, suffix) + kPrefix.size());
  static_assert(kPrefix.size() == kSuffix.size());
  return prefix == 0 ? Prompt{bytes_of(first), std::string(second)}
                     : Prompt{bytes_of(second), std::string(first)};
}

ModelPrompt model_prompt(const Prompt& prompt, const ModelConfig& config, int64_t room) {
  if (!prompt.suffix || !config.fill_in_middle)
    return {prompt.tokens, 0, prompt.suffix.value_or(""), prompt.suffix && !prompt.suffix->empty()};
  if (std::any_of(prompt.tokens.begin(), prompt.tokens.end(), [](int32_t t) { return t > 255; }))
    throw bad_field("prompt", "ids above 255 are not bytes, which alone can stand before a gap");
  FillPrompt fill =
      fill_in_middle_prompt(text_of(prompt.tokens), *prompt.suffix, config.max_seq_len, room);
  return {std::move(fill.tokens), fill.prefix_dropped + fill.suffix_dropped,
          std::move(fill.dropped), false};
}

}  // namespace axl
