#include "axl/model/lookup.h"

namespace axl {

std::vector<Lookup> lookups(const ModelConfig& config) {
  std::vector<Lookup> all;
  for (int64_t n : config.ngram.orders)
    all.push_back({Lookup::Kind::kNgram, n, config.ngram.rows});
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
  uint64_t hash = static_cast<uint64_t>(count);
  for (int64_t i = 0; i < count; ++i)
    hash = (hash ^ static_cast<uint64_t>(tokens[i] + 1)) * 0x9E3779B97F4A7C15u + (hash >> 29);
  // The finaliser of MurmurHash3: products alone leave the low bits of the last token low.
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDu;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53u;
  return hash ^ (hash >> 33);
}

}  // namespace axl
