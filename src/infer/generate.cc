#include "axl/infer/generate.h"

#include <algorithm>
#include <utility>

#include "axl/infer/drafter.h"
#include "axl/infer/session.h"

namespace axl {
namespace {

// The longest end of `text` that is a beginning of `stop`.
size_t partial_match(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  return 0;
}

}  // namespace

std::string StopFilter::push(std::string_view bytes) {
  if (stopped_) return "";
  held_ += bytes;
  size_t first = std::string::npos, keep = 0;
  for (const std::string& stop : stops_) {
    if (stop.empty()) continue;
    first = std::min(first, held_.find(stop));
    keep = std::max(keep, partial_match(held_, stop));
  }
  stopped_ = first != std::string::npos;
  const size_t certain = stopped_ ? first : held_.size() - keep;
  std::string out = held_.substr(0, certain);
  held_.erase(0, certain);
  return out;
}

std::string StopFilter::flush() { return stopped_ ? "" : std::exchange(held_, ""); }

Generation generate(const Model& model, std::string_view prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(prompt.data());
  const std::vector<int32_t> tokens(bytes, bytes + prompt.size());
  return generate(model, tokens, options, on_text);
}

Generation generate(const Model& model, std::span<const int32_t> prompt,
                    const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text) {
  options.sampling.validate();
  const ModelConfig& config = model.config();
  const int64_t inputs = 1 + std::ssize(prompt);
  const int64_t length = inputs - dropped_inputs(config, inputs);
  // A text that fits its context needs no next one, and guesses take the rows that reading it along
  // would take.
  const bool may_read_along =
      options.draft == 0 && outgrows_context(config, length, options.max_new_tokens);
  Session session(model, 1, may_read_along ? Renewal::kBest : Renewal::kAtOnce);
  Rng rng(options.seed);
  StopFilter filter(options.stop);
  Generation result;
  result.finish_reason = "length";
  const auto emit = [&](const std::string& text) {
    result.text += text;
    return text.empty() || on_text(text);
  };

  // What follows, until the text ends.
  const auto next = [&](std::span<const float> logits) -> std::optional<int32_t> {
    const int32_t token = sample(logits, options.sampling, rng);
    if (result.new_tokens++ == 0) result.prompt_dropped = session.dropped();
    const char byte = static_cast<char>(token);
    if (token == kEos)
      result.finish_reason = "eos";
    else if (!emit(filter.push({&byte, 1})))
      result.finish_reason = "cancelled";
    else if (filter.stopped())
      result.finish_reason = "stop";
    else
      return token;
    return std::nullopt;
  };
  std::vector<int32_t> text{kBos};
  text.insert(text.end(), prompt.begin(), prompt.end());
  result.writing =
      write_ahead(session, text, options.max_new_tokens, options.draft, options.around, next);
  if (result.finish_reason == "cancelled") return result;
  if (!emit(filter.flush())) result.finish_reason = "cancelled";
  return result;
}

WritingStats write_ahead(
    Session& session, std::span<const int32_t> text, int64_t most, int64_t draft,
    std::string_view around,
    const std::function<std::optional<int32_t>(std::span<const float>)>& next) {
  WritingStats did;
  if (most <= 0) return did;
  Drafter drafter(session.model());
  if (draft > 0) {
    drafter.remember(around);
    drafter.append(text);
  }
  std::optional<int32_t> token = next(session.append(text));
  did.passes = 1;
  for (int64_t left = most - 1; token && left > 0;) {
    if (draft > 0) drafter.append(*token);
    const std::span<const int32_t> guesses =
        drafter.guess(std::min({draft, session.room_for_guesses(), left - 1}));
    const std::span<const float> logits = session.append(*token, guesses);
    int64_t right = 0;
    for (;; ++right, drafter.append(*token)) {
      token = next(logits.subspan(right * kVocab, kVocab));
      --left;
      if (!token || right == std::ssize(guesses) || *token != guesses[right]) break;
    }
    session.keep_guesses(right);
    ++did.passes;
    did.guesses += std::ssize(guesses);
    did.right_guesses += right;
  }
  return did;
}

}  // namespace axl
