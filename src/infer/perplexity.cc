#include "axl/infer/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace axl {
namespace {

// Rows of one batch of windows: enough for products at full speed.
constexpr int64_t kRows = 2048;

}  // namespace

double Score::nats_per_byte() const { return nats / static_cast<double>(bytes); }
double Score::bits_per_byte() const { return nats_per_byte() / std::numbers::ln2; }
double Score::perplexity() const { return std::exp(nats_per_byte()); }

Score& Score::operator+=(const Score& other) {
  bytes += other.bytes;
  nats += other.nats;
  return *this;
}

Scorer::Scorer(const Model& model, Head head)
    : model_(model),
      head_(head),
      stride_(std::max<int64_t>(1, model.config().max_seq_len / 2)),
      batch_(std::max<int64_t>(1, kRows / model.config().max_seq_len)),
      activations_(model.config(), batch_ * model.config().max_seq_len,
                   Activations::Mode::kInference) {}

std::span<const float> Scorer::run(std::string_view document, uint64_t begin, int64_t windows,
                                   int64_t length) {
  ids_.clear();
  targets_.clear();
  for (int64_t w = 0; w < windows; ++w) {
    for (int64_t i = 0; i < length; ++i) {
      const uint64_t input = begin + w * stride_ + i;  // input 0 is BOS, input k is byte k − 1
      ids_.push_back(input == 0 ? kBos : static_cast<unsigned char>(document[input - 1]));
      targets_.push_back(static_cast<unsigned char>(document[input]));
    }
  }
  activations_.lay_out(whole_sequences(windows, length));
  model_.forward(ids_, activations_);
  model_.logits(head_, activations_);
  const int64_t rows = windows * length;
  cross_entropy(activations_.logits.row_range(0, rows), targets_, activations_.nll.data);
  return {activations_.nll.data, static_cast<size_t>(rows)};
}

Score Scorer::score(std::string_view document, const OnBytes& on_bytes) {
  const uint64_t inputs = document.size(), full = model_.config().max_seq_len;
  Score total;
  for (uint64_t begin = 0; total.bytes < inputs;) {
    // As many whole windows as there are, else the one that the end cuts short.
    int64_t windows = 1, length = static_cast<int64_t>(std::min(full, inputs - begin));
    if (begin + full <= inputs)
      windows = std::min<int64_t>(batch_, (inputs - begin - full) / stride_ + 1);
    const std::span<const float> nats = run(document, begin, windows, length);
    for (int64_t w = 0; w < windows && total.bytes < inputs; ++w) {
      const uint64_t window_begin = begin + w * stride_;
      const auto fresh = nats.subspan(w * length, length).subspan(total.bytes - window_begin);
      for (float n : fresh) total.nats += n;
      const uint64_t offset = total.bytes;
      total.bytes += fresh.size();
      if (on_bytes && !on_bytes(offset, fresh)) return total;
    }
    begin += windows * stride_;
  }
  return total;
}

uint64_t Scorer::context_of(uint64_t offset) const {
  const uint64_t full = model_.config().max_seq_len;
  if (offset < full) return offset;  // and BOS
  // The first window whose inputs reach up to byte `offset` − 1; it has no BOS.
  const uint64_t window = (offset - full) / stride_ + 1;
  return offset - window * stride_ + 1;
}

}  // namespace axl
