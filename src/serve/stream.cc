#include "serve/stream.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "axl/base/clock.h"
#include "axl/base/tokens.h"

namespace axl {
namespace {

void append(std::vector<TokenInfo>& to, std::vector<TokenInfo>& from) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

}  // namespace

void Mailbox::put(CompletionPiece piece) {
  const std::lock_guard lock(mutex_);
  if (piece_) {
    piece.text.insert(0, piece_->text);
    append(piece_->prompt, piece.prompt);
    append(piece_->written, piece.written);
    piece.prompt = std::move(piece_->prompt);
    piece.written = std::move(piece_->written);
  }
  piece_ = std::move(piece);
  arrived_.notify_one();
}

void Mailbox::fail(std::string message) {
  const std::lock_guard lock(mutex_);
  failure_ = std::move(message);
  arrived_.notify_one();
}

std::optional<CompletionPiece> Mailbox::take(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, patience, [&] { return piece_ || !failure_.empty(); });
  if (!failure_.empty()) throw Error(failure_);
  return std::exchange(piece_, std::nullopt);
}

void Mailbox::abandon() {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
}

bool Mailbox::abandoned() const {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

Stream::Stream(CompletionRequest request, const ModelConfig& config)
    : config_(config),
      request_(std::move(request)),
      tokens_{kBos},
      rng_(request_.seed),
      filter_(request_.stop) {
  tokens_.insert(tokens_.end(), request_.prompt.begin(), request_.prompt.end());
  prompt_dropped_ = dropped_inputs(config, static_cast<int64_t>(tokens_.size()));
  // Who wants logits of all tokens has the context move over them.
  if (!request_.score_prompt) window_begin_ = read_ = prompt_dropped_;
}

std::span<const int32_t> Stream::window() {
  const auto size = static_cast<int64_t>(tokens_.size());
  if (read_count() == config_.max_seq_len && read_ < size) {
    window_begin_ += context_drop(config_);
    read_ = window_begin_;
  }
  const int64_t count = std::min(size - window_begin_, config_.max_seq_len);
  return {tokens_.data() + window_begin_, static_cast<size_t>(count)};
}

void Stream::reuse(int64_t count) {
  const int64_t before = std::min(read_, prompt_tokens());
  read_ = window_begin_ + count;
  // Later a context has moved over tokens that were counted.
  if (!first_logits_) prompt_reused_ += std::min(read_, prompt_tokens()) - before;
}

std::span<const int32_t> Stream::unread_and_guesses(int64_t most, int64_t texts) {
  const int64_t places = config_.max_seq_len - std::ssize(window());
  const int64_t left = request_.max_tokens - new_tokens_;
  const std::span<const int32_t> guesses =
      drafter_->guess(std::min({most, places, left - 1}), texts);
  guesses_ = std::ssize(guesses);
  ahead_ = {tokens_[read_]};
  ahead_.insert(ahead_.end(), guesses.begin(), guesses.end());
  return ahead_;
}

void Stream::begin(const Model* guess_for) {
  begun_ = Clock::now();
  if (!guess_for) return;
  drafter_.emplace(*guess_for);
  drafter_->remember(request_.around);
  drafter_->append(tokens_);
}

void Stream::take(int64_t tokens, ConstMat logits, ConstMat gate) {
  if (wants_every_logit()) score(logits, gate);
  const int64_t guesses = std::exchange(guesses_, 0);
  read_ += tokens - guesses;
  if (read_ < static_cast<int64_t>(tokens_.size())) return;
  if (!first_logits_) first_logits_ = Clock::now();
  if (request_.max_tokens == 0) return finish("length");
  // A guess that is what is written has been read already.
  int64_t right = 0;
  for (;; ++right, ++read_) {
    const int64_t row = logits.rows - 1 - guesses + right;
    const int32_t token = write_next(logits.row(row), gate.row(row), gate.cols);
    if (finished_ || right == guesses || token != ahead_[1 + right]) break;
  }
  guesses_made_ += guesses;
  guesses_right_ += right;
}

int32_t Stream::write_next(const float* logits, const float* gate, int64_t scales) {
  const int32_t token = sample({logits, kVocab}, request_.sampling, rng_);
  if (request_.top_logprobs >= 0) {
    TokenInfo of_token = info(logits, gate, scales, token);
    if (token == kEos)
      piece_.eos = std::move(of_token);
    else
      held_.push_back(std::move(of_token));
  }
  write(token);
  return token;
}

void Stream::score(ConstMat logits, ConstMat gate) {
  for (int64_t i = 0; i < logits.rows; ++i) {
    const int64_t predicted = read_ + i + 1;
    if (predicted != scored_ || scored_ >= prompt_tokens()) continue;  // read again, or written
    piece_.prompt.push_back(info(logits.row(i), gate.row(i), gate.cols, tokens_[scored_++]));
  }
  if (!piece_.prompt.empty()) mailbox_->put(std::exchange(piece_, {}));
}

void Stream::write(int32_t token) {
  ++new_tokens_;
  if (token == kEos) return finish("eos");
  tokens_.push_back(token);
  if (drafter_) drafter_->append(token);
  const char byte = static_cast<char>(token);
  release(filter_.push({&byte, 1}));
  if (filter_.stopped()) return finish("stop");
  if (new_tokens_ == request_.max_tokens) return finish("length");
  if (!piece_.text.empty()) mailbox_->put(std::exchange(piece_, {}));
}

void Stream::release(std::string text) {
  const auto count = static_cast<int64_t>(std::min(text.size(), held_.size()));
  piece_.text += text;
  std::move(held_.begin(), held_.begin() + count, std::back_inserter(piece_.written));
  held_.erase(held_.begin(), held_.begin() + count);
}

void Stream::finish(const std::string& reason) {
  if (finished_) return;
  finished_ = true;
  release(filter_.flush());
  const Clock::time_point now = Clock::now();
  const Clock::time_point begun = begun_.value_or(now), first = first_logits_.value_or(now);
  piece_.last = true;
  piece_.finish_reason = reason;
  piece_.prompt_tokens = prompt_tokens();
  piece_.prompt_dropped = prompt_dropped_;
  piece_.prompt_reused = prompt_reused_;
  piece_.new_tokens = new_tokens_;
  piece_.prompt_seconds = to_seconds(first - begun);
  piece_.write_seconds = to_seconds(now - first);
  mailbox_->put(std::exchange(piece_, {}));
}

void Stream::fail(const std::string& message) {
  finished_ = true;
  mailbox_->fail(message);
}

void Stream::check(Clock::time_point now) {
  if (mailbox_->abandoned()) finish("cancelled");
  if (now >= request_.deadline) finish("deadline");
}

TokenInfo Stream::info(const float* logits, const float* gate, int64_t scales,
                       int32_t token) const {
  const float top = *std::max_element(logits, logits + kVocab);
  double sum = 0;
  for (int t = 0; t < kVocab; ++t) sum += std::exp(double(logits[t]) - top);
  const double log_sum = top + std::log(sum);

  TokenInfo result;
  result.token = token;
  result.logprob = static_cast<float>(logits[token] - log_sum);
  for (int32_t t = 0; t < kVocab; ++t) result.top.push_back({t, std::exp(logits[t] - log_sum)});
  const int64_t count = std::min<int64_t>(request_.top_logprobs, kVocab);
  std::partial_sort(
      result.top.begin(), result.top.begin() + count, result.top.end(),
      [](const Candidate& a, const Candidate& b) { return a.probability > b.probability; });
  result.top.resize(count);
  result.gate.assign(gate, gate + scales);
  return result;
}

}  // namespace axl
