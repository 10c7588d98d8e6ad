#include "serve/answer.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <random>

#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/infer/session.h"
#include "serve/api_error.h"
#include "serve/model_prompt.h"

namespace axl {
namespace {

uint64_t random_seed() {
  static std::atomic<uint64_t> count{0};
  static const uint64_t start = (uint64_t{std::random_device()()} << 32) ^ std::random_device()();
  const uint64_t n = ++count;
  return hash64({reinterpret_cast<const char*>(&n), sizeof n}, start);
}

void append(std::vector<TokenInfo>& to, const std::vector<TokenInfo>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// Puts a piece behind those before it.
void add_piece(CompletionPiece& all, const CompletionPiece& piece) {
  CompletionPiece sum = piece;
  sum.text = std::move(all.text) + piece.text;
  sum.prompt = std::move(all.prompt);
  sum.written = std::move(all.written);
  append(sum.prompt, piece.prompt);
  append(sum.written, piece.written);
  all = std::move(sum);
}

const char* id_prefix(Api api) { return api == Api::kCompletion ? "cmpl" : "chatcmpl"; }

/// BOS is in none of the counts. It leaves the context with whatever else is dropped.
int64_t without_bos(int64_t count, const CompletionPiece& end) {
  return end.prompt_dropped == 0 ? std::max<int64_t>(count - 1, 0) : count;
}

int64_t prompt_read(const CompletionPiece& end, bool scored) {
  return scored ? end.prompt_tokens - 1 : without_bos(end.prompt_tokens - end.prompt_dropped, end);
}

}  // namespace

double AnswerText::mean_logprob() const {
  double sum = all.eos ? all.eos->logprob : 0;
  for (const TokenInfo& info : all.written) sum += info.logprob;
  const size_t count = all.written.size() + (all.eos ? 1 : 0);
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

void check_end(const CompletionPiece& end, Api api) {
  if (end.finish_reason == "deadline" && api != Api::kLlama)
    throw ApiError(504, "the time that the server gives a request is over", "timeout");
  if (end.finish_reason == "cancelled") throw ApiError(503, "the server stops", "server_stopping");
}

Answer::Answer(std::shared_ptr<Engine> engine, std::string model, TextRequest request,
               Clock::time_point deadline)
    : engine_(std::move(engine)),
      model_(std::move(model)),
      id_(format("{}-{:016x}", id_prefix(request.api), random_seed())),
      created_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      request_(std::move(request)) {
  if (request_.time_limit) deadline = std::min(deadline, Clock::now() + *request_.time_limit);
  const uint64_t seed = request_.seed ? *request_.seed : random_seed();
  for (const Prompt& prompt : request_.prompts) {
    CompletionRequest base = base_request(prompt, deadline);
    for (int64_t i = 0; i < request_.best_of; ++i) {
      base.seed = seed + texts_.size();
      AnswerText text;
      text.prompt = static_cast<int64_t>(prompts_.size()) - 1;
      text.completion = engine_->submit(base);
      texts_.push_back(std::move(text));
    }
  }
}

/// Also adds what is to be known of the prompt to prompts_.
CompletionRequest Answer::base_request(const Prompt& sent, Clock::time_point deadline) {
  const ModelConfig& config = engine_->model().config();
  const Prompt prompt = read_fill_literals(sent);
  prompts_.push_back({text_of(sent.tokens), static_cast<int64_t>(prompt.tokens.size())});
  const int64_t room = max_tokens(prompts_.size() - 1);
  ModelPrompt shaped = model_prompt(prompt, config, room);
  AnswerPrompt& known = prompts_.back();
  known.tokens = static_cast<int64_t>(shaped.tokens.size());
  known.suffix_unused = shaped.suffix_unused;

  CompletionRequest r;
  r.prompt = std::move(shaped.tokens);
  r.around = std::move(shaped.around);
  r.max_tokens = room;
  r.sampling = request_.sampling;
  r.stop = request_.stop;
  r.top_logprobs = request_.best_of > request_.n ? std::max<int64_t>(request_.top_logprobs, 0)
                                                 : request_.top_logprobs;
  r.score_prompt = request_.echo && request_.top_logprobs >= 0;
  r.deadline = deadline;
  // The engine counts BOS among what it drops.
  const int64_t cut = r.score_prompt ? 0 : dropped_inputs(config, known.tokens + 1);
  known.dropped = shaped.dropped + std::max<int64_t>(cut - 1, 0);
  return r;
}

int64_t Answer::max_tokens(size_t prompt) const {
  if (request_.max_tokens) return *request_.max_tokens;
  return std::max(context() / 2, context() - 1 - prompts_[prompt].tokens);
}

std::optional<CompletionPiece> Answer::advance(size_t text, std::chrono::milliseconds patience) {
  AnswerText& t = texts_[text];
  std::optional<CompletionPiece> piece;
  try {
    piece = t.completion->next(patience);
  } catch (const ApiError&) {
    throw;
  } catch (const Error& e) {
    throw ApiError(500, e.what(), "model_failed");
  }
  if (piece) add_piece(t.all, *piece);
  return piece;
}

void Answer::finish(const Interrupt& interrupt) {
  for (size_t i = 0; i < texts_.size(); ++i) {
    while (!texts_[i].done()) {
      interrupt();
      advance(i, kPatience);
    }
    check_end(texts_[i].all, request_.api);
  }
  keep_best();
}

void Answer::keep_best() {
  if (request_.best_of == request_.n) return;
  const Usage all = usage();
  std::vector<AnswerText> kept;
  for (auto begin = texts_.begin(); begin != texts_.end(); begin += request_.best_of) {
    std::stable_sort(begin, begin + request_.best_of, [](const AnswerText& a, const AnswerText& b) {
      return a.mean_logprob() > b.mean_logprob();
    });
    std::move(begin, begin + request_.n, std::back_inserter(kept));
  }
  texts_ = std::move(kept);
  dropped_usage_.completion = all.completion - usage().completion;
}

Answer::Usage Answer::usage() const {
  Usage sum = dropped_usage_;
  const bool scored = request_.echo && request_.top_logprobs >= 0;
  int64_t last_prompt = -1;
  for (const AnswerText& t : texts_) {
    sum.completion += t.all.new_tokens;
    // A prompt counts once, however many texts it is given.
    if (t.prompt == last_prompt) continue;
    last_prompt = t.prompt;
    sum.prompt += prompt_read(t.all, scored);
    sum.cached += without_bos(t.all.prompt_reused, t.all);
  }
  return sum;
}

}  // namespace axl
