#include "axl/train/holdout.h"

#include <algorithm>
#include <memory>
#include <numbers>
#include <vector>

namespace axl {
namespace {

// The window's inputs, and its targets where the later half is scored.
void read_window(const Corpus& corpus, uint64_t begin, int64_t length, std::vector<int32_t>& ids,
                 std::vector<int32_t>& targets) {
  std::vector<int32_t> tokens(length + 1);
  const auto scored = std::make_unique<bool[]>(length + 1);
  corpus.read(begin, length + 1, tokens.data(), scored.get());
  const int64_t from = begin == 0 ? 0 : length / 2;  // what the stream begins with has no past
  for (int64_t i = 0; i < length; ++i) {
    const int32_t next = tokens[i + 1];
    ids.push_back(tokens[i]);
    targets.push_back(i >= from && scored[i + 1] && next != kEos ? next : -1);
  }
}

}  // namespace

double holdout_bits_per_byte(const Model& model, const Corpus& holdout, int64_t bytes,
                             Activations& activations, Head head) {
  const int64_t length = std::min<int64_t>(model.config().max_seq_len, holdout.tokens() - 1);
  const uint64_t last = holdout.tokens() - 1 - length;
  const int64_t fitting = last / std::max<int64_t>(1, length / 2) + 1;
  const int64_t windows = std::clamp<int64_t>(2 * bytes / length, 1, fitting);
  const int64_t batch = std::max<int64_t>(1, activations.max_rows() / length);

  double nats = 0;
  int64_t scored = 0;
  for (int64_t w = 0; w < windows;) {
    std::vector<int32_t> ids, targets;
    const int64_t count = std::min(batch, windows - w);
    for (int64_t i = 0; i < count; ++i, ++w)
      read_window(holdout, windows > 1 ? last * w / (windows - 1) : 0, length, ids, targets);
    activations.lay_out(whole_sequences(count, length));
    model.forward(ids, activations);
    model.logits(head, activations);
    const int64_t rows = count * length;
    cross_entropy(activations.logits.row_range(0, rows), targets, activations.nll.data);
    for (int64_t r = 0; r < rows; ++r)
      if (targets[r] >= 0) nats += activations.nll.data[r], ++scored;
  }
  return nats / std::max<int64_t>(1, scored) / std::numbers::ln2;
}

}  // namespace axl
