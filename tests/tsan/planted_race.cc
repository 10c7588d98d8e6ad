// A data race for the thread sanitizer to find: scripts/test.sh believes its silence about the
// tests only when it speaks up here.

#include <cstdio>

#include "axl/base/parallel.h"

int main() {
  axl::set_num_threads(4);
  long sum = 0;
  axl::parallel_for(100000, [&](int64_t i) { sum += i; });
  std::printf("the race went unnoticed, sum %ld\n", sum);
}
