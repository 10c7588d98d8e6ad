// Products by tiles: the order of its instructions on a unit in software, and Intel's where this
// CPU has it.

#include "kernels/tile_unit.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstring>
#include <vector>

#include "axl/tensor/half.h"
#include "testing.h"

namespace axl::detail {
namespace {

/// What the manual says of AMX's instructions (Intel SDM, TILELOADD, TDPBF16PS), for whole
/// registers.
struct SoftwareUnit {
  static constexpr int kRows = 16, kRowBytes = 64;
  struct Tile {
    std::byte row[kRows][kRowBytes];
  };
  static inline Tile tiles[8];

  static void begin() { std::memset(tiles, 0xff, sizeof tiles); }  // not a number anywhere
  static void end() {}
  template <int kTile>
  static void zero() {
    std::memset(&tiles[kTile], 0, sizeof(Tile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    for (int r = 0; r < kRows; ++r)
      std::memcpy(tiles[kTile].row[r], static_cast<const std::byte*>(from) + r * stride, kRowBytes);
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    for (int r = 0; r < kRows; ++r)
      std::memcpy(static_cast<std::byte*>(to) + r * stride, tiles[kTile].row[r], kRowBytes);
  }
  template <int kC, int kA, int kB>
  static void multiply() {
    float c[16][16];
    uint16_t a[16][32], b[16][16][2];
    std::memcpy(c, &tiles[kC], sizeof c);
    std::memcpy(a, &tiles[kA], sizeof a);
    std::memcpy(b, &tiles[kB], sizeof b);
    for (int m = 0; m < 16; ++m)
      for (int k = 0; k < 16; ++k)
        for (int n = 0; n < 16; ++n)
          for (int half = 0; half < 2; ++half)
            c[m][n] += from_bf16(a[m][2 * k + half]) * from_bf16(b[k][n][half]);
    std::memcpy(&tiles[kC], c, sizeof c);
  }
};

Bf16Pair pair_of(float even, float odd) { return to_bf16(even) | uint32_t{to_bf16(odd)} << 16; }

template <class Unit>
void expect_product(int64_t pairs) {
  constexpr int64_t kSide = 32;
  const int64_t stride = pairs + 8;
  Rng rng(1);
  // Small integers: sums are exact in any order.
  const auto some = [&] { return static_cast<float>(rng.below(17)) - 8.0f; };
  Matrix a(kSide, 2 * pairs), b(2 * pairs, kSide);
  for (float& x : a.values) x = some();
  for (float& x : b.values) x = some();
  std::vector<Bf16Pair> packed_a(kSide * stride, pair_of(NAN, NAN)), packed_b(pairs * kSide);
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t p = 0; p < pairs; ++p) {
      packed_a[i * stride + p] = pair_of(a(i, 2 * p), a(i, 2 * p + 1));
      packed_b[p * kSide + i] = pair_of(b(2 * p, i), b(2 * p + 1, i));
    }
  }
  std::vector<float> sums(kSide * kSide, NAN);
  Unit::begin();
  multiply_tiles<Unit>(packed_a.data(), stride, packed_b.data(), pairs, sums.data());
  Unit::end();
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t j = 0; j < kSide; ++j) {
      float expected = 0;
      for (int64_t k = 0; k < 2 * pairs; ++k) expected += a(i, k) * b(k, j);
      ASSERT_EQ(sums[i * kSide + j], expected) << i << ", " << j << " of " << pairs << " pairs";
    }
  }
}

TEST(TileUnit, MultipliesTileByTile) {
  for (const int64_t pairs : {16, 32, 80}) {
    expect_product<SoftwareUnit>(pairs);
    if (Amx::available()) expect_product<Amx>(pairs);
  }
}

}  // namespace
}  // namespace axl::detail
