#include "axl/infer/session.h"

#include <algorithm>

namespace axl {
namespace {

int64_t tokens_per_pass(const ModelConfig& config, int64_t sequences) {
  return std::clamp<int64_t>(kPrefillRows / sequences, 1, config.max_seq_len);
}

bool reads_along(const Model& model, int64_t sequences, Session::Renewal renewal) {
  AXL_CHECK(sequences == 1 || renewal != Session::Renewal::kAlong);
  if (renewal == Session::Renewal::kBest) return sequences == 1 && model.waits_for_memory();
  return renewal == Session::Renewal::kAlong;
}

}  // namespace

int64_t context_drop(const ModelConfig& config) {
  const int64_t half = config.max_seq_len / 2, factor = config.max_factor();
  return std::max<int64_t>(1, half >= factor ? half / factor * factor : half);
}

int64_t dropped_inputs(const ModelConfig& config, int64_t inputs) {
  const int64_t excess = std::max<int64_t>(0, inputs - config.max_seq_len);
  const int64_t drop = context_drop(config);
  return (excess + drop - 1) / drop * drop;
}

Session::Session(const Model& model, int64_t sequences, Renewal renewal)
    : config_(model.config()),
      windows_(sequences),
      portion_(tokens_per_pass(model.config(), sequences)),
      reads_along_(reads_along(model, sequences, renewal)),
      batch_(model, sequences + reads_along_, sequences * portion_) {}

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

/// What to read of the next window beside this one's last token, so that it keeps up: the same part
/// of what is left of it in each of the passes until this one is full.
std::span<const int32_t> Session::due_of_next_window() const {
  const int64_t begin = context_drop(config_) + std::ssize(batch_.tokens(1 - text_));
  const int64_t passes = config_.max_seq_len - length() + 1;
  const int64_t due = (config_.max_seq_len - begin + passes - 1) / passes;
  const int64_t count = std::min({due, length() - begin, portion_ - 1});
  if (count <= 0) return {};
  return std::span(windows_[0]).subspan(begin, count);
}

std::span<const float> Session::read_windows() {
  int64_t count = 0;
  for (int64_t done = batch_.tokens(text_).size(); done < length(); done += count) {
    count = std::min(portion_, length() - done);
    portions_.clear();
    for (int64_t i = 0; i < sequences(); ++i)
      portions_.push_back({text_ + i, {windows_[i].data() + done, static_cast<size_t>(count)}});
    if (reads_along_ && count == 1)
      if (const auto due = due_of_next_window(); !due.empty())
        portions_.push_back({1 - text_, due});
    batch_.read(portions_);
  }
  return {batch_.logits().data, windows_.size() * kVocab};
}

}  // namespace axl
