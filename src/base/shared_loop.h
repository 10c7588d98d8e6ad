#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <tuple>

#include "axl/base/parallel.h"

namespace axl::detail {

struct Loop {
  int64_t n;
  Sharing sharing;
  LoopBody run;
  BodyWords body;
};

/// A loop for other threads to take up, and its round: rounds count loops. One thread stores, any
/// load. All of it lies in one cache line: each that beginning a loop writes must pass from core to
/// core.
class alignas(64) SharedLoop {
 public:
  void store(const Loop& l, uint32_t round) {
    begun_.store(round, std::memory_order_relaxed);
    n_.store(l.n, std::memory_order_release);
    sharing_.store(l.sharing, std::memory_order_release);
    run_.store(l.run, std::memory_order_release);
    for (size_t i = 0; i < body_.size(); ++i) body_[i].store(l.body[i], std::memory_order_release);
    // Seen by all before notify_all() looks whether somebody sleeps: who goes to sleep meanwhile
    // would be missed otherwise.
    this->round.store(round, std::memory_order_seq_cst);
  }

  /// The loop of `wanted`, a round that this thread has seen. Nothing once a later one is being
  /// stored: what was read is a mixture then, and whatever the loop refers to may be gone.
  std::optional<Loop> load(uint32_t wanted) const {
    Loop l{n_.load(std::memory_order_acquire),
           sharing_.load(std::memory_order_acquire),
           run_.load(std::memory_order_acquire),
           {}};
    for (size_t i = 0; i < body_.size(); ++i) l.body[i] = body_[i].load(std::memory_order_acquire);
    // Whoever saw anything of a later loop sees that it was begun.
    if (begun_.load(std::memory_order_relaxed) != wanted) return std::nullopt;
    return l;
  }

  std::atomic<uint32_t> round{0};

 private:
  std::atomic<uint32_t> begun_{0};
  std::atomic<int64_t> n_{0};
  std::atomic<Sharing> sharing_{};
  std::atomic<LoopBody> run_{nullptr};
  std::array<std::atomic<uint64_t>, std::tuple_size_v<BodyWords>> body_{};
};
static_assert(sizeof(SharedLoop) == 64);

}  // namespace axl::detail
