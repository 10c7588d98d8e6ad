// How a byte reads the model's memories: embedding tables, and the recall memory's prior.
#include <algorithm>
#include <vector>

#include "axl/kernels/row_blocks.h"
#include "axl/model/model.h"

namespace axl {
namespace {

// Votes are worth several nats, whereas an optimizer moves a weight by little more than its learning
// rate a step.
constexpr float kVoteScale = 16.0f;

}  // namespace
void Model::look_up(std::span<const int32_t> ids, Activations& a, const Cache* cache) const {
  if (lookups_.empty()) return;
  std::copy(ids.begin(), ids.end(), a.last_tokens);
  for (size_t i = 0; i < a.bytes.size(); ++i) {
    const Segment& s = a.bytes[i];
    const int32_t* tokens = ids.data() + s.row;  // from the sequence's first
    if (cache) {
      std::copy_n(tokens, s.count, cache->ids[i] + s.begin);
      tokens = cache->ids[i];
    }
    for_row_blocks(s.count, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) look_up_row(tokens, s.begin + r + 1, s.row + r, a);
    });
  }
}

// The tokens read so far are tokens[0, count); contexts never reach back before them.
void Model::look_up_row(const int32_t* tokens, int64_t count, int64_t row, Activations& a) const {
  const Recall* recall = &recall_;
  if (!a.cross_fit.odd.empty())
    recall = a.cross_fit.odd[row] ? a.cross_fit.without_odd : a.cross_fit.without_even;
  const int64_t ngrams = config_.ngram.orders.size();
  for (int64_t t = 0; t < ngrams; ++t) {
    const int64_t n = lookups_[t].order;
    a.lookup_rows[t][row] =
        n > count ? -1 : row_of(hash_tokens(tokens + count - n, n), lookups_[t].rows);
  }
  for (size_t i = 0; i < config_.recall.orders.size(); ++i) {
    const int64_t n = config_.recall.orders[i];
    Recall::Entry entry;
    if (n <= count) entry = recall->find(i, hash_tokens(tokens + count - n, n));
    const RecalledRow recalled = recalled_row(entry);
    a.lookup_rows[ngrams + 2 * i][row] = recalled.first;
    a.lookup_rows[ngrams + 2 * i + 1][row] = recalled.second;
  }
}

// body(row of votes, level, byte) for whatever byte r recalls. How much an order counts depends on
// the longest order that recalls anything at all.
template <class Body>
void Model::for_each_vote(const Activations& a, int64_t r, const Body& body) const {
  const int64_t orders = config_.recall.orders.size(), ngrams = config_.ngram.orders.size();
  int64_t longest = orders - 1;
  while (longest > 0 && a.lookup_rows[ngrams + 2 * longest][r] < 0) --longest;
  for (int64_t v = 0; v < 2 * (longest + 1); ++v)
    if (const int32_t row = a.lookup_rows[ngrams + v][r]; row >= 0)
      body(2 * orders * longest + v, row % kRecallLevels, row / kRecallLevels);
}

void Model::add_prior(Activations& a) const {
  if (weights_.votes.rows == 0) return;
  for_row_blocks(a.rows(0), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for_each_vote(a, r, [&](int64_t v, int64_t level, int64_t byte) {
        a.logits(r, byte) += kVoteScale * weights_.votes(v, level);
      });
  });
}

// a.logits hold their own gradient by now.
void Model::votes_backward(Activations& a, const Weights& grads) const {
  if (weights_.votes.rows == 0) return;
  for (int64_t r = 0; r < a.rows(0); ++r)
    for_each_vote(a, r, [&](int64_t v, int64_t level, int64_t byte) {
      grads.votes(v, level) += kVoteScale * a.logits(r, byte);
    });
}

}  // namespace axl
