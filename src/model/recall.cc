#include "axl/model/recall.h"

#include <algorithm>
#include <array>

#include "axl/base/parallel.h"
#include "axl/model/lookup.h"

namespace axl {
namespace {

constexpr int kMaxCount = 15;
constexpr int64_t kWays = 4;  // adjacent slots that a context may live in

struct Slot {
  uint8_t check, first, second, first_count, second_count;

  static Slot unpack(uint32_t bits) {
    return {static_cast<uint8_t>(bits >> 24), static_cast<uint8_t>(bits >> 16),
            static_cast<uint8_t>(bits >> 8), static_cast<uint8_t>(bits >> 4 & 15),
            static_cast<uint8_t>(bits & 15)};
  }
  uint32_t pack() const {
    return static_cast<uint32_t>(check) << 24 | first << 16 | second << 8 | first_count << 4 |
           second_count;
  }

  // Both counts are halved when one is full, which keeps their ratio.
  void count(uint8_t byte) {
    if (first_count == 0 || byte == first) {
      first = byte;
      if (++first_count > kMaxCount) first_count = (kMaxCount + 1) / 2, second_count /= 2;
    } else if (second_count == 0 || byte == second) {
      second = byte;
      if (++second_count > first_count) {
        std::swap(first, second);
        std::swap(first_count, second_count);
      }
      if (first_count > kMaxCount) first_count = (kMaxCount + 1) / 2, second_count /= 2;
    } else if (--second_count == 0) {
      second = byte, second_count = 1;
    }
  }
};

uint8_t check_of(uint64_t hash) { return hash & 255; }
int64_t bucket_of(uint64_t hash, int64_t slots) { return row_of(hash, slots / kWays) * kWays; }

int first_count_of(uint32_t bits) { return bits >> 4 & 15; }

bool holds(uint32_t bits, uint8_t check) { return bits >> 24 == check && first_count_of(bits) > 0; }

// The slot of a bucket that holds the context; null if none does.
template <class Bits>
Bits* find_slot(Bits* bucket, uint8_t check) {
  Bits* slot = std::find_if(bucket, bucket + kWays, [=](uint32_t b) { return holds(b, check); });
  return slot < bucket + kWays ? slot : nullptr;
}

// The first of those whose context was seen least.
uint32_t* weakest_slot(uint32_t* bucket) {
  return std::min_element(bucket, bucket + kWays, [](uint32_t x, uint32_t y) {
    return first_count_of(x) < first_count_of(y);
  });
}

// Counts a byte after a context; returns whether the context was known. One that is not is taken up
// if `admit`, in the place of the one seen least, which loses weight each time it survives.
bool observe_byte(uint32_t* bucket, uint8_t check, uint8_t byte, bool admit) {
  if (uint32_t* slot = find_slot(bucket, check)) {
    Slot known = Slot::unpack(*slot);
    known.count(byte);
    *slot = known.pack();
    return true;
  }
  if (!admit) return false;
  uint32_t* weakest = weakest_slot(bucket);
  Slot slot = Slot::unpack(*weakest);
  if (slot.first_count > 1) {
    --slot.first_count;
    slot.second_count = std::min(slot.second_count, slot.first_count);
  } else {
    slot = {check, byte, 0, 1, 0};
  }
  *weakest = slot.pack();
  return false;
}

int64_t first_class(int count) {  // 1, 2, 3, 4-5, 6-7, 8-10, 11-15
  return count <= 3 ? count - 1 : count <= 5 ? 3 : count <= 7 ? 4 : count <= 10 ? 5 : 6;
}
int64_t second_class(int count) {  // 0, 1, 2-3, 4 and more
  return count <= 1 ? count : count <= 3 ? 2 : 3;
}

}  // namespace

int64_t Recall::Entry::level() const {
  return first_class(first_count) * 4 + second_class(second_count);
}

Recall::Recall(const RecallConfig& config)
    : orders_(config.orders),
      slots_(orders_.empty() ? 0 : int64_t{1} << config.bits),
      memory_(sizeof(uint32_t) * slots_ * orders_.size()) {
  for (size_t i = 0; i < orders_.size(); ++i)
    tables_.push_back(static_cast<uint32_t*>(memory_.data()) + i * slots_);
}

// Views are mutable throughout; whoever holds a model of stored parameters only reads.
Recall::Recall(const RecallConfig& config, std::span<const uint32_t* const> slots)
    : orders_(config.orders), slots_(orders_.empty() ? 0 : int64_t{1} << config.bits) {
  AXL_CHECK(slots.size() == orders_.size());
  for (const uint32_t* table : slots) tables_.push_back(const_cast<uint32_t*>(table));
}

void Recall::observe(std::span<const int32_t> tokens, int64_t from) {
  // Slots lie anywhere in memory: many are asked for before the first is needed.
  constexpr int64_t kAhead = 32;
  const int64_t count = tokens.size();
  std::array<uint64_t, kAhead> hashes;
  std::vector<RollingHash> rolling;
  for (int64_t order : orders_)
    rolling.emplace_back(tokens.data() + std::max<int64_t>(0, from - order),
                         std::min(order, count));
  for (int64_t begin = from; begin < count; begin += kAhead) {
    const int64_t n = std::min(kAhead, count - begin);
    std::array<bool, kAhead> known;  // the next shorter context, before this byte
    known.fill(true);
    for (size_t o = 0; o < orders_.size(); ++o) {
      const int64_t order = orders_[o], skip = std::clamp<int64_t>(order - begin, 0, n);
      uint32_t* table = data(o);
      for (int64_t i = skip; i < n; ++i) {
        hashes[i] = rolling[o].value();
        rolling[o].roll(tokens[begin + i - order], tokens[begin + i]);
        __builtin_prefetch(table + bucket_of(hashes[i], slots_), 1);
      }
      for (int64_t i = skip; i < n; ++i) {
        const int32_t token = tokens[begin + i];
        if (token >= 256) continue;
        known[i] = observe_byte(table + bucket_of(hashes[i], slots_), check_of(hashes[i]),
                                static_cast<uint8_t>(token), known[i]);
      }
    }
  }
}

Recall::Entry Recall::find(int64_t order_index, uint64_t hash) const {
  const uint32_t* bucket = data(order_index) + bucket_of(hash, slots_);
  if (const uint32_t* slot = find_slot(bucket, check_of(hash))) {
    const Slot s = Slot::unpack(*slot);
    return {s.first, s.second, s.first_count, s.second_count};
  }
  return {};
}

// Of one bucket's contexts in both memories, those seen most stay.
void Recall::merge(const Recall& other) {
  AXL_CHECK(orders_ == other.orders_ && slots_ == other.slots_);
  constexpr int64_t kChunk = 1 << 14;
  const int64_t all = slots_ * orders_.size();
  parallel_for((all + kChunk - 1) / kChunk, [&](int64_t c) {
    for (int64_t b = c * kChunk; b < std::min(all, (c + 1) * kChunk); b += kWays) {
      for (int64_t i = b; i < b + kWays; ++i) {
        const Slot from = Slot::unpack(other.data(0)[i]);
        if (from.first_count == 0) continue;
        uint32_t* bucket = data(0) + b;
        if (uint32_t* to = find_slot(bucket, from.check)) {
          Slot known = Slot::unpack(*to);
          for (int n = 0; n < from.first_count; ++n) known.count(from.first);
          for (int n = 0; n < from.second_count; ++n) known.count(from.second);
          *to = known.pack();
        } else if (to = weakest_slot(bucket); first_count_of(*to) < from.first_count) {
          *to = from.pack();
        }
      }
    }
  });
}

}  // namespace axl
