// How a byte reads the model's memories: embedding tables, and the votes for what it recalls.
#include <algorithm>
#include <array>

#include "axl/kernels/row_blocks.h"
#include "axl/model/model.h"
#include "axl/model/repeats.h"

namespace axl {
namespace {

// Votes are worth several nats, whereas an optimizer moves a weight by little more than its
// learning rate a step.
constexpr float kVoteScale = 16.0f;

// Looking back from each of so many tokens takes less than a table of all text before them.
constexpr int64_t kFewTokens = 16;

}  // namespace

void Model::look_up(std::span<const int32_t> ids, Activations& a, const Cache* cache) const {
  if (lookups_.empty()) return;
  for (size_t i = 0; cache && i < a.bytes.size(); ++i) {
    const Segment& s = a.bytes[i];
    std::copy_n(ids.data() + s.row, s.count, cache->ids[i] + s.begin);
  }
  // The tokens of a sequence from its first, which contexts never reach back before.
  const auto tokens_of = [&](int64_t i) {
    return cache ? cache->ids[i] : ids.data() + a.bytes[i].row;
  };
  for (size_t i = 0; i < a.bytes.size(); ++i) {
    const Segment& s = a.bytes[i];
    for_row_blocks(s.count, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        look_up_row(tokens_of(i), s.begin + r + 1, s.row + r, a);
    });
  }
  for (size_t i = 0; i < a.bytes.size(); ++i) {
    const Segment& s = a.bytes[i];
    for (int64_t r = 0; s.count <= kFewTokens && r < s.count; ++r)
      look_up_repeats({tokens_of(i), static_cast<size_t>(s.begin + r + 1)}, s.row + r, a);
  }
  const int64_t repeats = config_.repeats.size(), first = lookups_.size() - repeats;
  parallel_for(repeats * a.bytes.size(), [&](int64_t task) {
    const int64_t i = task / repeats, t = first + task % repeats;
    const Segment& s = a.bytes[i];
    if (s.count > kFewTokens)
      find_repeats(tokens_of(i), s.begin, s.end(), lookups_[t].order, a.lookup_rows[t] + s.row);
  });
}

// Of the last token, as decoding reads them.
void Model::look_up_repeats(std::span<const int32_t> tokens, int64_t row, Activations& a) const {
  std::array<int32_t, kMemoryLevels> rows;
  const size_t repeats = config_.repeats.size(), first = lookups_.size() - repeats;
  find_repeats_of_last(tokens, config_.repeats, rows.data());
  for (size_t k = 0; k < repeats; ++k) a.lookup_rows[first + k][row] = rows[k];
}

// The tokens read so far are tokens[0, count).
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
    const int64_t n = config_.recall.orders[i], t = ngrams + 2 * i;
    Recall::Entry e;
    if (n <= count) e = recall->find(i, hash_tokens(tokens + count - n, n));
    a.lookup_rows[t][row] = e.first_count > 0 ? memory_row(e.first, e.level()) : -1;
    a.lookup_rows[t + 1][row] = e.second_count > 0 ? memory_row(e.second, e.level()) : -1;
  }
}

// body(row of votes, level, byte) for whatever byte r recalls. How much each memory counts depends
// on the longest order that recalls anything at all.
template <class Body>
void Model::for_each_vote(const Activations& a, int64_t r, const Body& body) const {
  const int64_t ngrams = config_.ngram.orders.size(), voters = lookups_.size() - ngrams;
  int64_t longest = std::max<int64_t>(1, config_.recall.orders.size()) - 1;
  while (longest > 0 && a.lookup_rows[ngrams + 2 * longest][r] < 0) --longest;
  for (int64_t v = 0; v < voters; ++v)
    if (const int32_t row = a.lookup_rows[ngrams + v][r]; row >= 0)
      body(longest * voters + v, row % kMemoryLevels, row / kMemoryLevels);
}

void Model::add_votes(Activations& a) const {
  if (weights_.votes.rows == 0) return;
  for (size_t i = 0; i < a.bytes.size(); ++i) {
    const Segment &all = a.bytes[i], &o = a.outputs[0][i];
    for_row_blocks(o.count, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for_each_vote(a, all.row + all.count - o.count + r,
                      [&](int64_t v, int64_t level, int64_t byte) {
                        a.logits(o.row + r, byte) += kVoteScale * weights_.votes(v, level);
                      });
    });
  }
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
