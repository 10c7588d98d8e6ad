#include <memory>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/base/tokens.h"
#include "axl/data/corpus.h"

namespace axl {

WindowSampler::WindowSampler(const Corpus& corpus, int64_t length, int64_t batch, uint64_t seed)
    : corpus_(corpus), length_(length), batch_(batch), seed_(seed) {
  AXL_CHECK(length >= 1 && batch >= 1);
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
    const uint64_t begin = window_begin(step * batch_ + sequence);
    corpus_.read(begin, length_ + 1, tokens.data(), scored.get());
    bool odd = corpus_.document_at(begin) % 2 == 1;
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
