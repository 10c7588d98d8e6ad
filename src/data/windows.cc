#include <algorithm>
#include <memory>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/base/tokens.h"
#include "axl/data/corpus.h"
#include "fill_in_middle.h"

namespace axl {

WindowSampler::WindowSampler(const Corpus& corpus, int64_t length, int64_t batch, uint64_t seed,
                             double fim_rate)
    : corpus_(corpus), length_(length), batch_(batch), seed_(seed), fim_rate_(fim_rate) {
  AXL_CHECK(length >= 1 && batch >= 1 && fim_rate >= 0 && fim_rate <= 1);
  const auto tokens = static_cast<int64_t>(corpus.tokens());
  if (tokens < length + 1) {
    throw Error(
        format("the corpus has {} tokens (bytes and marks of {} documents), fewer than the "
               "{} of one window; give more data or a smaller model.max_seq_len",
               tokens, corpus.documents(), length + 1));
  }
  windows_ = (tokens - 1) / length;
}

void WindowSampler::fill(int64_t step, TokenBatch& batch) const {
  AXL_CHECK(step >= 0);
  batch.sequences = batch_;
  batch.length = length_;
  batch.ids.resize(batch_ * length_);
  batch.targets.resize(batch_ * length_);
  batch.odd.resize(batch_ * length_);
  std::vector<int32_t> tokens(length_ + 1);
  const auto scored = std::make_unique<bool[]>(length_ + 1);
  for (int64_t sequence = 0; sequence < batch_; ++sequence) {
    const int64_t index = step * batch_ + sequence;
    const uint64_t begin = window_begin(index);
    const int64_t document = corpus_.document_at(begin);
    corpus_.read(begin, length_ + 1, tokens.data(), scored.get());
    if (fim_rate_ > 0) fill_gaps(index, document, tokens, {scored.get(), tokens.size()});
    bool odd = document % 2 == 1;
    int32_t* ids = batch.ids.data() + sequence * length_;
    int32_t* targets = batch.targets.data() + sequence * length_;
    for (int64_t i = 0; i < length_; ++i) {
      if (i > 0 && tokens[i] == kBos) odd = !odd;
      batch.odd[sequence * length_ + i] = odd;
      ids[i] = tokens[i];
      targets[i] = scored[i + 1] ? tokens[i + 1] : -1;
    }
  }
}

void WindowSampler::fill_gaps(int64_t index, int64_t document, std::span<int32_t> tokens,
                              std::span<bool> scored) const {
  constexpr uint64_t kOwnNumbers = 0x66696d;  // none that order or initialisation draw
  Rng rng(mix64(seed_ ^ kOwnNumbers), index);
  for (size_t begin = 0; begin < tokens.size(); ++document) {
    const auto next = std::find(tokens.begin() + begin + 1, tokens.end(), kBos);
    const size_t size = next - tokens.begin() - begin;
    if (rng.uniform() < fim_rate_ && !corpus_.is_pair(document))
      fill_in_middle(tokens.subspan(begin, size), scored.subspan(begin, size), rng);
    begin += size;
  }
}

uint64_t WindowSampler::window_begin(int64_t index) const {
  // Windows share their last token with the next one's first, which is never a target: so each
  // token but the first is predicted in exactly one window, and up to length - 1 tokens are left
  // over for the phase.
  const int64_t left_over = (static_cast<int64_t>(corpus_.tokens()) - 1) % length_;
  Rng rng(seed_, index / windows_);
  const uint64_t phase = rng.below(left_over + 1);
  const Permutation order(windows_, rng.next());
  return phase + order(index % windows_) * length_;
}

}  // namespace axl
