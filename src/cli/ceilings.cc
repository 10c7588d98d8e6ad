#include "cli/ceilings.h"

namespace axl {
namespace {

/// FLOP/s of an n x n x n product.
double square_gemm(int64_t n, double seconds, Precision precision) {
  Buffer memory(3 * n * n * sizeof(float));
  const Mat a(memory.floats(), n, n), b(a.data + n * n, n, n), c(b.data + n * n, n, n);
  std::fill_n(a.data, 2 * n * n, 0.5f);
  const auto multiply = [&] {
    gemm(Trans::kNo, a, Trans::kNo, b, c, Write::kAssign, 1.0f, precision);
  };
  return 2.0 * n * n * n / timing(seconds, multiply).best;
}

}  // namespace

double gemm_ceiling(double seconds, Precision precision) {
  double best = 0;
  // Powers of two collide in the caches of some machines, other sizes are slower on others.
  for (int64_t n : {1440, 2016, 2048})
    best = std::max(best, square_gemm(n, seconds / 3, precision));
  return best;
}

BandwidthMeter::BandwidthMeter(int64_t bytes)
    : rows_(std::max<int64_t>(1, bytes / (4 * kColumns))),
      memory_(sizeof(float) * (kColumns * (rows_ + 1) + rows_)) {
  std::fill_n(memory_.floats(), kColumns * (rows_ + 1), 1.0f);
}

Bandwidth BandwidthMeter::measure(double seconds) const {
  const Mat w(memory_.floats(), rows_, kColumns), x(w.data + w.size(), 1, kColumns);
  const Mat y(x.data + kColumns, 1, rows_);
  const Timing of =
      timing(seconds, [&] { gemm(Trans::kNo, x, Trans::kYes, w, y, Write::kAssign); });
  return {4.0 * w.size() / of.best, 4.0 * w.size() / of.mean};
}

}  // namespace axl
