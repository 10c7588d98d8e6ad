#include "axl/model/lookup.h"

namespace axl {

std::vector<Lookup> lookups(const ModelConfig& config) {
  std::vector<Lookup> all;
  for (int64_t n : config.ngram.orders) all.push_back({Lookup::Kind::kNgram, n, config.ngram.rows});
  for (int64_t n : config.recall.orders)
    for (Lookup::Kind kind : {Lookup::Kind::kRecallFirst, Lookup::Kind::kRecallSecond})
      all.push_back({kind, n, 256 * kMemoryLevels});
  for (int64_t n : config.repeats) all.push_back({Lookup::Kind::kRepeat, n, 256 * kMemoryLevels});
  return all;
}

int64_t vote_rows(const ModelConfig& config) {
  const int64_t orders = config.recall.orders.size(), repeats = config.repeats.size();
  return std::max<int64_t>(1, orders) * (2 * orders + repeats);
}

uint64_t hash_tokens(const int32_t* tokens, int64_t count) {
  return RollingHash(tokens, count).value();
}

RollingHash::RollingHash(const int32_t* tokens, int64_t count) : count_(count), sum_(0), power_(1) {
  for (int64_t i = 0; i < count; ++i) sum_ = sum_ * kBase + term(tokens[i]), power_ *= kBase;
}

}  // namespace axl
