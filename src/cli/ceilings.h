#pragma once

#include <algorithm>
#include <cstdint>

#include "axl/base/clock.h"
#include "axl/kernels/gemm.h"
#include "axl/tensor/arena.h"

/// What this machine can do at best, measured in the run whose speed is set against it.
namespace axl {

/// Seconds that something takes.
struct Timing {
  double best = 1e300, mean = 0;
};

/// Those of body(), as often as it fits into `seconds`; at least three times.
template <class Body>
Timing timing(double seconds, const Body& body) {
  Timing of;
  const Clock::time_point begin = Clock::now();
  for (int i = 1; i <= 3 || seconds_since(begin) < seconds; ++i) {
    const Clock::time_point start = Clock::now();
    body();
    of.best = std::min(of.best, seconds_since(start));
    of.mean = seconds_since(begin) / i;
  }
  return of;
}

/// FLOP/s of the best large square product on all threads.
double gemm_ceiling(double seconds, Precision precision);

/// Bytes per second of the best reading, and of all.
struct Bandwidth {
  double best = 0, mean = 0;
};

/// How fast all threads together read `bytes` of memory again and again, as fast as a cache where
/// they fit into one.
class BandwidthMeter {
 public:
  explicit BandwidthMeter(int64_t bytes);
  Bandwidth measure(double seconds) const;

 private:
  static constexpr int64_t kColumns = 4096;
  int64_t rows_;
  Buffer memory_;
};

}  // namespace axl
