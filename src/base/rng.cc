#include "axl/base/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "axl/base/error.h"

namespace axl {
namespace {
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, SplitMix64's increment
constexpr int kFeistelRounds = 6;
}  // namespace

uint64_t mix64(uint64_t x) {
  x += kGolden;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

Rng::Rng(uint64_t seed, uint64_t stream) {
  const uint64_t start = mix64(seed ^ mix64(stream));
  // mix64 is a bijection of four different inputs, so the state is never all zero.
  for (uint64_t i = 0; i < state_.size(); ++i) state_[i] = mix64(start + i * kGolden);
}

uint64_t Rng::next() {
  auto& s = state_;
  const uint64_t result = std::rotl(s[0] + s[3], 23) + s[0];
  const uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return result;
}

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

uint64_t Rng::below(uint64_t n) {
  AXL_CHECK(n >= 1);
  // Lemire 2019: the high word of a product; low words under 2^64 mod n would favour some results.
  const uint64_t unfair = -n % n;
  for (;;) {
    const auto product = static_cast<unsigned __int128>(next()) * n;
    if (static_cast<uint64_t>(product) >= unfair) return static_cast<uint64_t>(product >> 64);
  }
}

double Rng::normal() {
  // The method yields pairs. The second number is dropped: four words stay the whole state.
  for (;;) {
    const double u = 2 * uniform() - 1, v = 2 * uniform() - 1;
    const double s = u * u + v * v;
    if (s > 0 && s < 1) return u * std::sqrt(-2 * std::log(s) / s);
  }
}

Permutation::Permutation(uint64_t n, uint64_t seed)
    : n_(n),
      seed_(seed),
      half_bits_(n <= 1 ? 1 : std::max(1, (static_cast<int>(std::bit_width(n - 1)) + 1) / 2)) {}

uint64_t Permutation::operator()(uint64_t i) const {
  AXL_CHECK(i < n_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  // The network permutes [0, 4^half_bits), under 4 n; walking its cycle until the result is below
  // n permutes [0, n).
  do {
    uint64_t left = i >> half_bits_, right = i & mask;
    for (int round = 0; round < kFeistelRounds; ++round) {
      const uint64_t key = mix64(seed_ + kGolden * static_cast<uint64_t>(round));
      const uint64_t next = left ^ (mix64(right ^ key) & mask);
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= n_);
  return i;
}

}  // namespace axl
