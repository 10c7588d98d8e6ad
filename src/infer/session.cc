#include "axl/infer/session.h"

#include <algorithm>

namespace axl {
namespace {

size_t cache_bytes(const Model& model) {
  Arena measure;
  Cache(measure, model.weights(), 1, model.config().max_seq_len);
  return measure.used();
}

}  // namespace

int64_t context_drop(const ModelConfig& config) {
  const int64_t half = config.max_seq_len / 2, factor = config.max_factor();
  return std::max<int64_t>(1, half >= factor ? half / factor * factor : half);
}

Session::Session(const Model& model)
    : model_(model),
      cache_memory_(cache_bytes(model)),
      activations_(model.config(), std::min(kPrefillRows, model.config().max_seq_len),
                   Activations::Mode::kInference) {
  Arena arena(cache_memory_.data(), cache_memory_.bytes());
  cache_ = Cache(arena, model.weights(), 1, model.config().max_seq_len);
}

void Session::clear() {
  window_.clear();
  done_ = dropped_ = 0;
}

std::span<const float> Session::append(std::span<const int32_t> tokens) {
  AXL_CHECK(!tokens.empty());
  window_.insert(window_.end(), tokens.begin(), tokens.end());
  const int64_t excess = length() - model_.config().max_seq_len;
  if (excess > 0) {
    const int64_t drop = context_drop(model_.config());
    const int64_t forget = (excess + drop - 1) / drop * drop;
    window_.erase(window_.begin(), window_.begin() + forget);
    dropped_ += forget;
    done_ = 0;
  }
  read_window();
  model_.logits(activations_);
  return {activations_.logits.row(activations_.rows(0) - 1), static_cast<size_t>(kVocab)};
}

void Session::read_window() {
  while (done_ < length()) {
    const int64_t count = std::min(kPrefillRows, length() - done_);
    activations_.lay_out({{0, done_, count}});
    model_.forward({window_.data() + done_, static_cast<size_t>(count)}, activations_, &cache_);
    done_ += count;
  }
}

size_t Session::memory_bytes() const { return cache_memory_.bytes() + activations_.memory_bytes(); }

}  // namespace axl
