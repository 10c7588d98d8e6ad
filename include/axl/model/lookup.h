#pragma once

#include <cstdint>
#include <vector>

#include "axl/model/config.h"

namespace axl {

/// An embedding table beside the byte's own, and how a byte finds its row in it: by a hash of the
/// last n tokens (n-gram embeddings, BLT, arXiv:2412.09871, section 3.2.1), or by what the recall
/// memory says has followed them most, or second most, often.
struct Lookup {
  enum class Kind { kNgram, kRecallFirst, kRecallSecond };
  Kind kind;
  int64_t order;  ///< n
  int64_t rows;
};

/// All tables of a model: one for each n-gram order, then two for each recall order.
std::vector<Lookup> lookups(const ModelConfig& config);

/// Hash of `count` tokens. Every bit of the result depends on every token.
uint64_t hash_tokens(const int32_t* tokens, int64_t count);

/// Row of a table of `rows` for a hash.
inline int64_t row_of(uint64_t hash, int64_t rows) {
  return static_cast<int64_t>(static_cast<unsigned __int128>(hash) * rows >> 64);
}

}  // namespace axl
