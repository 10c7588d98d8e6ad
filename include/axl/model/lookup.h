#pragma once

#include <cstdint>
#include <vector>

#include "axl/model/config.h"

namespace axl {

/// An embedding table beside the byte's own, and how a byte finds its row in it: by a hash of the
/// last n tokens (n-gram embeddings, BLT, arXiv:2412.09871, section 3.2.1); by what the recall
/// memory says has followed them most, or second most, often; or by what followed them when they
/// last stood in this very context.
struct Lookup {
  enum class Kind { kNgram, kRecallFirst, kRecallSecond, kRepeat };
  Kind kind;
  int64_t order;  ///< n
  int64_t rows;
};

/// All tables of a model: one for each n-gram order, two for each recall order, one for each length
/// of repeats.
std::vector<Lookup> lookups(const ModelConfig& config);

/// A memory names a byte and says in one of so many levels how sure it is.
inline constexpr int64_t kMemoryLevels = 28;
inline int32_t memory_row(int32_t byte, int64_t level) {
  return byte * static_cast<int32_t>(kMemoryLevels) + static_cast<int32_t>(level);
}

/// Rows of vote weights: for each memory table, at each longest recall order that found something.
int64_t vote_rows(const ModelConfig& config);

/// Hash of `count` tokens: a polynomial of them, so that it can roll over a text, and a finaliser
/// after which every bit depends on every token.
uint64_t hash_tokens(const int32_t* tokens, int64_t count);

/// The same hash of each `count` tokens in a row, at a constant cost per step.
class RollingHash {
 public:
  /// Stands on tokens [0, count).
  RollingHash(const int32_t* tokens, int64_t count);
  uint64_t value() const {  // the finaliser of MurmurHash3
    uint64_t hash = sum_ + count_;
    hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDu;
    hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53u;
    return hash ^ (hash >> 33);
  }
  /// Moves on by one: `first` leaves, `next` enters.
  void roll(int32_t first, int32_t next) {
    sum_ = sum_ * kBase + term(next) - term(first) * power_;
  }

 private:
  static constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  static uint64_t term(int32_t token) { return static_cast<uint64_t>(token + 1); }

  uint64_t count_, sum_, power_;
};

/// Row of a table of `rows` for a hash.
inline int64_t row_of(uint64_t hash, int64_t rows) {
  return static_cast<int64_t>(static_cast<unsigned __int128>(hash) * rows >> 64);
}

}  // namespace axl
