#include "axl/infer/fill_in_middle.h"

#include <algorithm>

#include "axl/base/tokens.h"

namespace axl {
namespace {

void append(std::vector<int32_t>& tokens, std::string_view bytes) {
  for (const char byte : bytes) tokens.push_back(static_cast<unsigned char>(byte));
}

}  // namespace

FillPrompt fill_in_middle_prompt(std::string_view prefix, std::string_view suffix, int64_t context,
                                 int64_t room) {
  constexpr int64_t kMarks = 4;  // BOS too
  const auto before = static_cast<int64_t>(prefix.size());
  const auto after = static_cast<int64_t>(suffix.size());
  const int64_t bytes = std::max<int64_t>(context - kMarks - std::min(room, context / 2), 0);
  const int64_t kept_suffix = std::min(after, std::max(bytes / 4, bytes - before));
  const int64_t kept_prefix = std::min(before, bytes - kept_suffix);

  FillPrompt prompt;
  prompt.prefix_dropped = before - kept_prefix;
  prompt.suffix_dropped = after - kept_suffix;
  prompt.dropped = suffix.substr(kept_suffix);
  prompt.dropped += prefix.substr(0, prompt.prefix_dropped);
  prompt.tokens = {kFimPrefix, kFimSuffix};
  append(prompt.tokens, suffix.substr(0, kept_suffix));
  prompt.tokens.push_back(kFimMiddle);
  append(prompt.tokens, prefix.substr(prompt.prefix_dropped));
  return prompt;
}

}  // namespace axl
