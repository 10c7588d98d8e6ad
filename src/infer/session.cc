#include "axl/infer/session.h"

#include <algorithm>

namespace axl {
namespace {

int64_t tokens_per_pass(const ModelConfig& config, int64_t sequences) {
  return std::clamp<int64_t>(kPrefillRows / sequences, 1, config.max_seq_len);
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

Session::Session(const Model& model, int64_t sequences)
    : config_(model.config()),
      windows_(sequences),
      portion_(tokens_per_pass(model.config(), sequences)),
      batch_(model, sequences, sequences * portion_) {}

void Session::clear() {
  for (int64_t i = 0; i < sequences(); ++i) {
    windows_[i].clear();
    batch_.truncate(i, 0);
  }
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
  for (int64_t i = 0; i < sequences(); ++i) {
    windows_[i].erase(windows_[i].begin(), windows_[i].begin() + forget);
    batch_.truncate(i, 0);
  }
  dropped_ += forget;
}

std::span<const float> Session::read_windows() {
  int64_t count = 0;
  for (int64_t done = batch_.tokens(0).size(); done < length(); done += count) {
    count = std::min(portion_, length() - done);
    portions_.clear();
    for (int64_t i = 0; i < sequences(); ++i)
      portions_.push_back({i, {windows_[i].data() + done, static_cast<size_t>(count)}});
    batch_.read(portions_);
  }
  return {batch_.logits().data, windows_.size() * kVocab};
}

}  // namespace axl
