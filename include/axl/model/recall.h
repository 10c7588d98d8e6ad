#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/model/config.h"
#include "axl/tensor/arena.h"

namespace axl {

/// A frozen memory of a text: for each of several context lengths, a hashed table from the last n
/// tokens to the two bytes that have followed them most, with small counts. It is filled at the
/// speed of counting, far above that of training, and tells the network what came next before; how
/// far to trust that, the network learns. Ideas of the PPM and PAQ families of compressors.
///
/// A network must not learn from a memory that holds the very text it is trained on: it would find
/// every answer there and trust it blindly. So training keeps two memories, of the even and of the
/// odd documents, and reads each document's contexts in the memory without it (cross-fitting);
/// afterwards both are merged.
class Recall {
 public:
  /// What one context has been followed by.
  struct Entry {
    uint8_t first = 0, second = 0;              ///< bytes
    uint8_t first_count = 0, second_count = 0;  ///< of at most 15; 0: there is no such byte
    int64_t level() const;                      ///< both counts in one of kMemoryLevels classes
  };

  Recall() = default;
  explicit Recall(const RecallConfig& config);
  /// One whose slots lie elsewhere, read-only, a run for each order; they must outlive it.
  Recall(const RecallConfig& config, std::span<const uint32_t* const> slots);

  bool empty() const { return orders_.empty(); }
  std::span<const int64_t> orders() const { return orders_; }
  int64_t slots() const { return slots_; }  ///< of each order
  uint32_t* data(int64_t order_index) const { return tables_[order_index]; }

  /// Counts each byte tokens[i], i >= from, after the tokens before it. Marks are part of contexts
  /// and never counted. A context is taken up only once the next shorter one is known, so that text
  /// which never repeats fills the table of the shortest order alone.
  void observe(std::span<const int32_t> tokens, int64_t from);

  /// What followed the context with this hash_tokens(); all zero when nothing is known.
  Entry find(int64_t order_index, uint64_t hash) const;

  /// Adds the counts of another memory of the same shape.
  void merge(const Recall& other);

 private:
  std::vector<int64_t> orders_;
  int64_t slots_ = 0;
  Buffer memory_;
  std::vector<uint32_t*>
      tables_;  ///< [orders][slots] of: check 8 bits, first 8, second 8, counts 4 + 4
};

}  // namespace axl
