// Loops whose threads come late: parallel.cc once more, with threads that let others run between
// their steps. On a machine with many cores the same happens by itself, once in a while.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {
void yield_at_times() {
  thread_local uint32_t random =
      1 + static_cast<uint32_t>(std::hash<std::thread::id>()(std::this_thread::get_id()));
  random = random * 1664525u + 1013904223u;
  if (random >> 31) std::this_thread::yield();
}
}  // namespace

#define AXL_BETWEEN_STEPS() yield_at_times()
#include "../src/base/parallel.cc"

#include "testing.h"

namespace axl {
namespace {

TEST(LateThreads, RunEveryIndexOfEveryLoopOnce) {
  constexpr int64_t kRounds = 3000;
  for (const int threads : {2, 3, 4, 6, 9}) {
    const Threads those(threads);
    const int64_t sizes[] = {2, threads, 3,
                             2 * threads + 1};  // fewer indices than threads, and more
    std::vector<std::atomic<int64_t>> runs(2 * threads + 1);
    std::vector<int64_t> expected(runs.size());
    for (int64_t round = 0; round < kRounds; ++round) {
      const int64_t n = sizes[round % 4];
      const auto body = [&](int64_t i) { runs[i].fetch_add(1, std::memory_order_relaxed); };
      if (round % 7 == 0)
        parallel_for_dynamic(n, body);
      else
        parallel_for(n, body);
      for (int64_t i = 0; i < n; ++i) ++expected[i];
      for (size_t i = 0; i < runs.size(); ++i)
        ASSERT_EQ(runs[i], expected[i])
            << threads << " threads, round " << round << ", index " << i;
    }
  }
}

}  // namespace
}  // namespace axl
