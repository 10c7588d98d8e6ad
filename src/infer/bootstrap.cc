#include "axl/infer/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/rng.h"

namespace axl {
namespace {

constexpr int kResamples = 2000;
constexpr uint64_t kSeed = 1;

/// The q-quantile of sorted values, interpolated between neighbours.
double quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

}  // namespace

ConfidenceInterval bits_per_byte_interval(std::span<const Score> documents) {
  AXL_CHECK(documents.size() >= 2);
  Rng rng(kSeed);
  std::vector<double> resampled(kResamples);
  for (double& bits : resampled) {
    Score total;
    for (size_t i = 0; i < documents.size(); ++i) total += documents[rng.below(documents.size())];
    bits = total.bits_per_byte();
  }
  std::sort(resampled.begin(), resampled.end());
  return {quantile(resampled, 0.025), quantile(resampled, 0.975)};
}

}  // namespace axl
