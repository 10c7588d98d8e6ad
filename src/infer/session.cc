#include "axl/infer/session.h"

#include <algorithm>

namespace axl {
namespace {

int64_t tokens_per_pass(const ModelConfig& config, int64_t sequences) {
  return std::clamp<int64_t>(kPrefillRows / sequences, 1, config.max_seq_len);
}

}  // namespace

bool reads_along(const Model& model, Renewal renewal) {
  return renewal == Renewal::kAlong || (renewal == Renewal::kBest && model.waits_for_memory());
}

int64_t context_drop(const ModelConfig& config) {
  const int64_t half = config.max_seq_len / 2, factor = config.max_factor();
  return std::max<int64_t>(1, half >= factor ? half / factor * factor : half);
}

int64_t dropped_inputs(const ModelConfig& config, int64_t inputs) {
  const int64_t excess = std::max<int64_t>(0, inputs - config.max_seq_len);
  const int64_t drop = context_drop(config);
  return (excess + drop - 1) / drop * drop;
}

bool outgrows_context(const ModelConfig& config, int64_t length, int64_t new_tokens) {
  return new_tokens - 1 > config.max_seq_len - length;
}

int64_t due_of_next_window(const ModelConfig& config, int64_t length, int64_t read) {
  const int64_t begin = context_drop(config) + read;
  const int64_t passes = config.max_seq_len - length + 1;
  const int64_t due = (config.max_seq_len - begin + passes - 1) / passes;
  return std::max<int64_t>(0, std::min(due, length - begin));
}

Session::Session(const Model& model, int64_t sequences, Renewal renewal)
    : model_(model),
      config_(model.config()),
      windows_(sequences),
      portion_(tokens_per_pass(model.config(), sequences)),
      reads_along_(sequences == 1 && reads_along(model, renewal)),
      batch_(model, sequences + reads_along_, sequences * portion_) {
  AXL_CHECK(sequences == 1 || renewal != Renewal::kAlong);
}

void Session::clear() {
  for (std::vector<int32_t>& window : windows_) window.clear();
  for (int64_t i = 0; i < batch_.sequences(); ++i) batch_.truncate(i, 0);
  dropped_ = 0;
}

std::span<const float> Session::append(std::span<const int32_t> tokens) {
  const size_t count = tokens.size() / windows_.size();
  AXL_CHECK(count > 0 && count * windows_.size() == tokens.size());
  for (size_t i = 0; i < windows_.size(); ++i) {
    const auto own = tokens.subspan(i * count, count);
    windows_[i].insert(windows_[i].end(), own.begin(), own.end());
  }
  drop_excess();
  return read_windows();
}

int64_t Session::room_for_guesses() const {
  if (sequences() > 1 || reads_along_) return 0;
  const int64_t places = config_.max_seq_len - length() - 1;
  return std::clamp<int64_t>(places, 0, std::min(model_.rows_alike(), portion_) - 1);
}

std::span<const float> Session::append(int32_t token, std::span<const int32_t> guesses) {
  AXL_CHECK(std::ssize(guesses) <= room_for_guesses());
  if (guesses.empty()) return append({&token, 1});
  std::vector<int32_t>& window = windows_[0];
  window.push_back(token);
  window.insert(window.end(), guesses.begin(), guesses.end());
  guesses_ = std::ssize(guesses);
  portions_.assign({{text_, std::span(window).last(1 + guesses_), 1 + guesses_}});
  batch_.read(portions_);
  return {batch_.logits().data, static_cast<size_t>((1 + guesses_) * kVocab)};
}

void Session::keep_guesses(int64_t count) {
  AXL_CHECK(0 <= count && count <= guesses_);
  windows_[0].resize(length() - (guesses_ - count));
  batch_.truncate(text_, length());
  guesses_ = 0;
}

void Session::drop_excess() {
  const int64_t forget = dropped_inputs(config_, length());
  if (forget == 0) return;
  for (std::vector<int32_t>& window : windows_)
    window.erase(window.begin(), window.begin() + forget);
  for (int64_t i = 0; i < sequences(); ++i) batch_.truncate(text_ + i, 0);
  if (reads_along_) {
    text_ = 1 - text_;
    if (forget > context_drop(config_)) batch_.truncate(text_, 0);
  }
  dropped_ += forget;
}

void Session::add_due_of_next_window() {
  const int64_t read = read_along();
  const int64_t due = std::min(due_of_next_window(config_, length(), read), portion_ - 1);
  if (due == 0) return;
  const int64_t begin = context_drop(config_) + read;
  portions_.push_back({1 - text_, std::span(windows_[0]).subspan(begin, due)});
}

std::span<const float> Session::read_windows() {
  int64_t count = 0;
  for (int64_t done = batch_.tokens(text_).size(); done < length(); done += count) {
    count = std::min(portion_, length() - done);
    portions_.clear();
    for (int64_t i = 0; i < sequences(); ++i)
      portions_.push_back({text_ + i, {windows_[i].data() + done, static_cast<size_t>(count)}});
    if (reads_along_ && count == 1) add_due_of_next_window();
    batch_.read(portions_);
  }
  return {batch_.logits().data, windows_.size() * kVocab};
}

}  // namespace axl
