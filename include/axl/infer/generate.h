#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "axl/infer/sampler.h"
#include "axl/infer/session.h"
#include "axl/model/model.h"

namespace axl {

struct GenerateOptions {
  int64_t max_new_tokens = 100;
  SamplingOptions sampling;
  uint64_t seed = 0;
  std::vector<std::string> stop;  ///< text ends before the first of these
  /// Bytes that are guessed ahead at most (infer/drafter.h), as far as a pass has room for them.
  /// The text does not depend on it (for a bf16 model that waits for memory, but for rounding when
  /// its context moves: with 0 the next one is read along).
  int64_t draft = 10;
  std::string around;  ///< what guesses are made from beside the text: Drafter::remember()
};

/// What write_ahead() did.
struct WritingStats {
  int64_t passes = 0;         ///< of the model
  int64_t guesses = 0;        ///< bytes that were guessed ahead
  int64_t right_guesses = 0;  ///< of them what came
};

struct Generation {
  std::string text;        ///< what was generated, stop string and EOS left out
  int64_t new_tokens = 0;  ///< sampled, EOS and the bytes of a stop string included
  WritingStats writing;
  std::string finish_reason;  ///< "length", "eos", "stop" or "cancelled"
  int64_t prompt_dropped =
      0;  ///< inputs at the left of the prompt that the context had no room for
};

/// Continues BOS + prompt. on_text receives the text as it comes, holding back what could yet turn
/// out to be a stop string; it returns false to cancel. The same model, prompt, options and seed
/// give the same text on any number of threads.
Generation generate(const Model& model, std::string_view prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text);

/// The same after BOS and `prompt`, which may hold marks (infer/fill_in_middle.h).
Generation generate(const Model& model, std::span<const int32_t> prompt,
                    const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text);

/// Reads `text` and then token by token what `next` makes of the logits after it, `most` tokens or
/// until there is none. It guesses up to `draft` of them, from the text and what stands `around` it
/// (infer/drafter.h), and reads them ahead. `next` is asked for each token once, in order, with the
/// same logits as without guesses.
WritingStats write_ahead(
    Session& session, std::span<const int32_t> text, int64_t most, int64_t draft,
    std::string_view around,
    const std::function<std::optional<int32_t>(std::span<const float> logits)>& next);

/// Finds stop strings in a stream of text.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// Adds bytes and returns what is now certain not to be part of a stop string.
  std::string push(std::string_view bytes);
  /// What was held back, at the end of the text.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace axl
