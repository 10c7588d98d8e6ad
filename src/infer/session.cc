#include "axl/infer/session.h"

#include <algorithm>

namespace axl {
namespace {

size_t cache_bytes(const Model& model, int64_t sequences) {
  Arena measure;
  Cache(measure, model.weights(), sequences, model.config().max_seq_len);
  return measure.used();
}

int64_t tokens_per_pass(const ModelConfig& config, int64_t sequences) {
  return std::clamp<int64_t>(kPrefillRows / sequences, 1, config.max_seq_len);
}

// Each sequence may complete ⌈portion / factor⌉ tokens of a scale in one pass, where Activations
// plans ⌈rows / factor⌉ for all of them.
int64_t rows_per_pass(const ModelConfig& config, int64_t sequences) {
  return sequences * (tokens_per_pass(config, sequences) + config.max_factor() - 1);
}

}  // namespace

int64_t context_drop(const ModelConfig& config) {
  const int64_t half = config.max_seq_len / 2, factor = config.max_factor();
  return std::max<int64_t>(1, half >= factor ? half / factor * factor : half);
}

Session::Session(const Model& model, int64_t sequences)
    : model_(model),
      windows_(sequences),
      portion_(tokens_per_pass(model.config(), sequences)),
      cache_memory_(cache_bytes(model, sequences)),
      activations_(model.config(), rows_per_pass(model.config(), sequences),
                   Activations::Mode::kInference) {
  Arena arena(cache_memory_.data(), cache_memory_.bytes());
  cache_ = Cache(arena, model.weights(), sequences, model.config().max_seq_len);
}

void Session::clear() {
  for (std::vector<int32_t>& window : windows_) window.clear();
  done_ = dropped_ = 0;
}

std::span<const float> Session::append(std::span<const int32_t> tokens) {
  const size_t count = tokens.size() / windows_.size();
  AXL_CHECK(count > 0 && count * windows_.size() == tokens.size());
  for (size_t i = 0; i < windows_.size(); ++i) {
    const auto own = tokens.subspan(i * count, count);
    windows_[i].insert(windows_[i].end(), own.begin(), own.end());
  }
  drop_excess();
  read_windows();
  return {activations_.logits.data, windows_.size() * kVocab};
}

void Session::drop_excess() {
  const int64_t excess = length() - model_.config().max_seq_len;
  if (excess <= 0) return;
  const int64_t drop = context_drop(model_.config());
  const int64_t forget = (excess + drop - 1) / drop * drop;
  for (std::vector<int32_t>& window : windows_)
    window.erase(window.begin(), window.begin() + forget);
  dropped_ += forget;
  done_ = 0;
}

// Leaves the logits after the last token of sequence i in row i.
void Session::read_windows() {
  int64_t count = 0;
  for (; done_ < length(); done_ += count) {
    count = std::min(portion_, length() - done_);
    read(count);
  }
  model_.logits(activations_);
  const Mat& logits = activations_.logits;
  for (int64_t i = 0; count > 1 && i < sequences(); ++i)
    copy(logits.row_range((i + 1) * count - 1, 1), logits.row_range(i, 1));
}

void Session::read(int64_t count) {
  Segments segments;
  ids_.clear();
  for (const std::vector<int32_t>& window : windows_) {
    segments.push_back({static_cast<int64_t>(ids_.size()), done_, count});
    ids_.insert(ids_.end(), window.begin() + done_, window.begin() + done_ + count);
  }
  activations_.lay_out(segments);
  model_.forward(ids_, activations_, &cache_);
}

size_t Session::memory_bytes() const { return cache_memory_.bytes() + activations_.memory_bytes(); }

}  // namespace axl
