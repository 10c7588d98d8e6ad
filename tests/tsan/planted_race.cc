// A data race for the thread sanitizer to find: scripts/test.sh believes its silence about the
// tests only when it speaks up here.

#include <atomic>
#include <cstdio>

#include "axl/base/parallel.h"

int main() {
  // One thread may do all of a loop before another comes; here each waits for the other, a while,
  // by an order of memory that orders nothing else.
  constexpr int kThreads = 2, kLooks = 10'000'000;
  axl::set_num_threads(kThreads);
  std::atomic<int> arrived{0};
  volatile long sum = 0;
  axl::parallel_for(kThreads, [&](int64_t i) {
    arrived.fetch_add(1, std::memory_order_relaxed);
    for (int look = 0; look < kLooks && arrived.load(std::memory_order_relaxed) < kThreads; ++look)
      continue;
    sum = sum + i;
  });
  std::printf("the race went unnoticed, sum %ld\n", static_cast<long>(sum));
}
