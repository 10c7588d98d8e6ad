#include "serve/shape.h"

#include <algorithm>

#include "axl/base/format.h"
#include "serve/llama_shape.h"
#include "serve/openai_shape.h"

namespace axl {

Reply remarks(const Answer& answer) {
  int64_t dropped = 0;
  bool unused = false;
  for (const AnswerPrompt& p : answer.prompts()) {
    dropped = std::max(dropped, p.dropped);
    unused |= p.suffix_unused;
  }
  if (dropped == 0 && !unused) return {};
  Reply remarks = Reply::object(), warnings = Reply::array();
  if (dropped > 0) {
    remarks["prompt_dropped"] = dropped;
    warnings.push_back(
        format("the prompt is longer than the model's context of {} bytes: {} bytes of it, those "
               "farthest from where it goes on, were not read",
               answer.context(), dropped));
  }
  if (unused) {
    remarks["suffix_used"] = false;
    warnings.push_back(format(
        "the model '{}' was not trained to fill gaps: the suffix was not used", answer.model()));
  }
  remarks["warnings"] = warnings;
  return remarks;
}

std::unique_ptr<Shape> make_shape(const Answer& answer) {
  switch (answer.request().api) {
    case Api::kCompletion:
      return std::make_unique<CompletionShape>(answer);
    case Api::kLlama:
      return std::make_unique<LlamaShape>(answer);
    case Api::kChat:
    case Api::kFill:
      break;
  }
  return std::make_unique<ChatShape>(answer);
}

}  // namespace axl
