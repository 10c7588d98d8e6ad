#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/infer/sampler.h"
#include "axl/infer/session.h"
#include "axl/model/model.h"

namespace axl {

/// One text to be continued once.
struct CompletionRequest {
  std::vector<int32_t> prompt;  ///< bytes and in-band marks; BOS is put before them
  int64_t max_tokens = 16;      ///< bytes to write at most; 0 reads the prompt alone
  SamplingOptions sampling;
  uint64_t seed = 0;
  std::string around;             ///< what guesses are made from beside the text
  std::vector<std::string> stop;  ///< text ends before the first of these
  int64_t top_logprobs = -1;      ///< of each token so many alternatives; -1: no TokenInfo at all
  bool score_prompt = false;      ///< TokenInfo of the prompt's tokens too, before those written
  Clock::time_point deadline = Clock::time_point::max();
};

/// What the model thought of one token. Probabilities are the model's own, softmax of its logits,
/// before any sampling option.
struct TokenInfo {
  int32_t token = 0;
  float logprob = 0;           ///< nats, <= 0
  std::vector<Candidate> top;  ///< the most likely first
  std::vector<float> gate;     ///< weight of each scale in the fusion that predicted the token
};

/// What has become certain of a text since the last piece.
struct CompletionPiece {
  std::string text;                ///< written bytes, of which no stop string can take any back
  std::vector<TokenInfo> prompt;   ///< where asked for
  std::vector<TokenInfo> written;  ///< of each byte of text, where asked for
  bool last = false;

  // Of the last piece.
  std::optional<TokenInfo> eos;  ///< of EOS, where asked for, if that ended the text
  std::string finish_reason;   ///< "length", "stop" (stop string), "eos", "deadline" or "cancelled"
  int64_t prompt_tokens = 0;   ///< BOS included
  int64_t prompt_dropped = 0;  ///< of them, at the left, that the context had no room for
  int64_t prompt_reused = 0;   ///< of them that an earlier request had left in a cache
  int64_t new_tokens = 0;      ///< sampled, EOS and the bytes of a stop string included
  double prompt_seconds = 0;   ///< from the beginning of reading to the first logits
  double write_seconds = 0;    ///< from there to the end
};

/// A text that an engine is writing. Destroying it cancels the work.
class Completion {
 public:
  virtual ~Completion() = default;
  /// The next piece, nothing when none came within `patience`. After the last piece, not again.
  /// Throws Error when the engine failed (logits that are not finite).
  virtual std::optional<CompletionPiece> next(std::chrono::milliseconds patience) = 0;
};

/// No room in the queue: the client should try again later.
class BusyError : public Error {
 public:
  using Error::Error;
};

struct EngineOptions {
  int64_t sequences = 16;            ///< texts that are written at the same time
  int64_t queue = 256;               ///< texts that wait for their turn
  Renewal renewal = Renewal::kBest;  ///< reads along where a cache is idle
  int64_t draft = 10;                ///< as of GenerateOptions; the more texts, the fewer
};

struct EngineStats {
  int64_t running = 0, waiting = 0;  ///< texts
  uint64_t prompt_tokens = 0;        ///< read, of all requests so far
  uint64_t reused_tokens = 0;        ///< of prompts, found in a cache
  uint64_t written_tokens = 0;
  uint64_t guesses = 0, right_guesses = 0;  ///< bytes guessed ahead
  uint64_t passes = 0;                      ///< of the model
  uint64_t pass_rows = 0;                   ///< tokens that they took together
  double pass_seconds = 0;                  ///< that they took
};

/// Writes many texts at once on a thread of its own (continuous batching): each pass of the model
/// takes the next byte of every text that is being written and some bytes of prompts that are being
/// read, so that a long prompt delays no running text by more than one pass, and weights are read
/// once for all. Caches outlive their requests: a prompt that begins as an earlier one did is read
/// from where they differ.
class Engine {
 public:
  /// Throws UsageError for options that are not positive.
  Engine(std::shared_ptr<const Model> model, EngineOptions options);
  ~Engine();  ///< cancels what is running

  /// Begins a text. Throws BusyError when the queue is full, UsageError for sampling options or a
  /// token out of range. Safe from any thread.
  std::unique_ptr<Completion> submit(CompletionRequest request);
  EngineStats stats() const;
  const Model& model() const { return *model_; }

 private:
  class Worker;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace axl
