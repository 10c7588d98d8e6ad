#pragma once

#include <array>
#include <cstdint>

namespace axl {

/// One step of SplitMix64 (Steele, Lea, Flood 2014) on `x`: a good 64-bit mixer, used to derive
/// independent seeds from (seed, stream) pairs.
uint64_t mix64(uint64_t x);

/// xoshiro256++ (Blackman, Vigna 2019). The same seed gives the same numbers on every machine.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0);

  uint64_t next();
  /// Uniform in [0, 1) with 53 bits.
  double uniform();
  /// Uniform in [0, n), n >= 1, without bias.
  uint64_t below(uint64_t n);
  /// Standard normal (Marsaglia's polar method).
  double normal();

 private:
  std::array<uint64_t, 4> state_;
};

/// A pseudo-random permutation of [0, n) that needs no memory: a Feistel network with cycle
/// walking (Black, Rogaway 2002).
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t seed);
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t n_, seed_;
  int half_bits_;
};

}  // namespace axl
