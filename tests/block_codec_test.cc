#include "axl/formats/block_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/base/rng.h"
#include "axl/tensor/half.h"

namespace axl {
namespace {

using Bytes = std::vector<std::byte>;

// ---- Halves -------------------------------------------------------------------------------------

/// The value of an f16 by its definition.
double value_of_half(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 0x3FF;
  const double size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -size : size;
}

TEST(Half, EveryF16IsReadExactlyAndComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const double value = value_of_half(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_f16(half)));
      EXPECT_TRUE(std::isnan(value_of_half(to_f16(from_f16(half)))));
      continue;
    }
    ASSERT_EQ(from_f16(half), value) << bits;
    ASSERT_EQ(std::signbit(from_f16(half)), half >= 0x8000) << bits;
    ASSERT_EQ(to_f16(from_f16(half)), half) << bits;
  }
}

TEST(Half, BetweenNeighboursTheNearestIsTakenAndInTheMiddleTheEvenOne) {
  for (uint16_t low = 0; low < 0x7BFF; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const auto middle = static_cast<float>((value_of_half(low) + value_of_half(high)) / 2);
    const uint16_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(to_f16(middle), even);
    ASSERT_EQ(to_f16(-middle), even | 0x8000);
    ASSERT_EQ(to_f16(std::nextafter(middle, 0.0f)), low);
    ASSERT_EQ(to_f16(std::nextafter(middle, INFINITY)), high);
  }
  EXPECT_EQ(to_f16(65519.996f), 0x7BFF);
  EXPECT_EQ(to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(to_f16(-INFINITY), 0xFC00);
  EXPECT_EQ(to_f16(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Half, Bf16IsTheNearestUpperHalf) {
  for (uint32_t low = 0; low < 0x7F80; ++low) {
    const float value = from_bf16(static_cast<uint16_t>(low));
    ASSERT_EQ(std::bit_cast<uint32_t>(value), low << 16);
    ASSERT_EQ(to_bf16(value), low);
    const uint32_t middle = low << 16 | 0x8000;
    ASSERT_EQ(to_bf16(std::bit_cast<float>(middle)), low + low % 2);
    ASSERT_EQ(to_bf16(std::bit_cast<float>(middle - 1)), low);
    ASSERT_EQ(to_bf16(-std::bit_cast<float>(middle + 1)), (low + 1) | 0x8000);
  }
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7FFFFFFFu)))));
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0xFF800001u)))));
}

// ---- Layout -------------------------------------------------------------------------------------

/// A block of zeros with some bytes set.
class Block {
 public:
  explicit Block(ElementType type) : type_(type), bytes_(element_format(type).bytes) {}
  Block& set(size_t at, int byte) {
    bytes_.at(at) = static_cast<std::byte>(byte);
    return *this;
  }
  Block& half(size_t at, float value) {
    const uint16_t bits = to_f16(value);
    return set(at, bits & 255).set(at + 1, bits >> 8);
  }
  /// The values that are not zero: (index, value) for each.
  std::vector<std::pair<int, float>> values() const {
    std::vector<float> x(element_format(type_).elements);
    decode_row(type_, bytes_.data(), static_cast<int64_t>(x.size()), x.data());
    std::vector<std::pair<int, float>> out;
    for (size_t i = 0; i < x.size(); ++i)
      if (x[i] != 0) out.emplace_back(static_cast<int>(i), x[i]);
    return out;
  }

 private:
  ElementType type_;
  Bytes bytes_;
};

using Values = std::vector<std::pair<int, float>>;

TEST(BlockCodec, BytesOfBlocksOf32MeanWhatGgmlsMean) {
  EXPECT_EQ(Block(ElementType::kQ8_0).half(0, 0.5f).set(2 + 7, 0xFE).values(), (Values{{7, -1}}));

  Block q4(ElementType::kQ4_0);
  q4.half(0, 0.25f);
  for (int j = 0; j < 16; ++j) q4.set(2 + j, 0x88);
  q4.set(2 + 3, 0x0F);
  EXPECT_EQ(q4.values(), (Values{{3, 7 * 0.25f}, {19, -8 * 0.25f}}));

  Block q5(ElementType::kQ5_0);
  q5.half(0, 2);
  for (int j = 2; j < 6; ++j) q5.set(j, 0xFF);
  q5.set(2, 0xFD).set(6 + 4, 0xF1);  // element 1 loses its fifth bit
  EXPECT_EQ(q5.values(), (Values{{1, 2 * (0 - 16)}, {4, 2 * 1}, {20, 2 * 15}}));

  Block with_minimum(ElementType::kQ5_1);
  with_minimum.half(0, 0.5f).half(2, -8);
  for (int j = 4; j < 8; ++j) with_minimum.set(j, 0xFF);
  with_minimum.set(7, 0x7F).set(8 + 15, 0x21);  // element 31 loses its fifth bit
  EXPECT_EQ(with_minimum.values(), (Values{{15, 0.5f}, {31, 0.5f * 2 - 8}}));
}

TEST(BlockCodec, BytesOfBlocksOf256MeanWhatGgmlsMean) {
  // Scale 41 and minimum 37 of sub-block 6: low nibbles in byte 8 + 2, high bits in 2 and 6.
  const auto with_scales = [](ElementType type) {
    Block block(type);
    block.half(0, 0.5f).half(2, 0.25f).set(4 + 10, 9 | 5 << 4).set(4 + 2, 2 << 6);
    return block;
  };
  Values minima;
  for (int i = 192; i < 224; ++i) minima.emplace_back(i, -0.25f * 37);
  const int nibbles = 16, fives = 48;  // where qs begins
  Values expected = minima;
  expected[5].second += 0.5f * 41 * 11;
  EXPECT_EQ(with_scales(ElementType::kQ4_K)
                .set(4 + 6, 2 << 6)
                .set(nibbles + 96 + 5, 0xCB)  // 0xC is of sub-block 7, whose scale is 0
                .values(),
            expected);
  expected[5].second += 0.5f * 41 * 16;
  EXPECT_EQ(with_scales(ElementType::kQ5_K)
                .set(4 + 6, 2 << 6)
                .set(fives + 96 + 5, 0xCB)
                .set(16 + 5, 1 << 6)
                .values(),
            expected);

  // Sub-block 13, elements 208 to 223, of scale -3: the third run of 32 of the second half.
  Block q6(ElementType::kQ6_K);
  q6.half(208, 0.5f).set(192 + 13, -3);
  for (int l = 0; l < 32; ++l) q6.set(128 + 32 + l, 2 << 4);
  q6.set(64 + 17, 0x5F).set(128 + 32 + 17, 3 << 4);
  EXPECT_EQ(q6.values(), Values({{209, -1.5f * (5 + 3 * 16 - 32)}}));
}

// ---- Encoding -----------------------------------------------------------------------------------

constexpr ElementType kCoded[] = {ElementType::kQ8_0, ElementType::kQ4_0, ElementType::kQ5_0,
                                  ElementType::kQ5_1, ElementType::kQ4_K, ElementType::kQ5_K,
                                  ElementType::kQ6_K};
constexpr ElementType kPlain[] = {ElementType::kF32, ElementType::kF16, ElementType::kBF16};

std::vector<float> normal(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(rng.normal());
  return x;
}
/// Student's t of 4 degrees of freedom: its fourth moment is infinite.
std::vector<float> heavy_tailed(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n);
  for (float& v : x) {
    double squares = 0;
    for (int i = 0; i < 4; ++i) squares += std::pow(rng.normal(), 2);
    v = static_cast<float>(rng.normal() / std::sqrt(squares / 4));
  }
  return x;
}

Bytes encoded(ElementType type, const std::vector<float>& x) {
  const auto cols = static_cast<int64_t>(x.size());
  Bytes out(PackedMatrix{type, nullptr, 1, cols}.row_bytes());
  encode_row(type, x.data(), cols, out.data());
  return out;
}
std::vector<float> through(ElementType type, const std::vector<float>& x) {
  std::vector<float> out(x.size());
  decode_row(type, encoded(type, x).data(), static_cast<int64_t>(x.size()), out.data());
  return out;
}

/// Sum of w (x - y)^2 by the weights that the header promises.
double weighted_error(const std::vector<float>& x, const std::vector<float>& y, size_t block) {
  double error = 0;
  for (size_t b = 0; b < x.size(); b += block) {
    double squares = 0;
    for (size_t i = b; i < b + block; ++i) squares += double(x[i]) * x[i];
    const double typical = std::sqrt(squares / static_cast<double>(block));
    for (size_t i = b; i < b + block; ++i)
      error += (typical + std::abs(x[i])) * std::pow(double(x[i]) - y[i], 2);
  }
  return error;
}
double squared_error(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) error += std::pow(double(x[i]) - y[i], 2);
  return error;
}

/// What rounding between the extremes of each (sub-)block gives, with scales that cost nothing.
std::vector<float> plainly(ElementType type, const std::vector<float>& x) {
  const bool affine =
      type == ElementType::kQ5_1 || type == ElementType::kQ4_K || type == ElementType::kQ5_K;
  const bool four = type == ElementType::kQ4_0 || type == ElementType::kQ4_K;
  const int levels = four ? 16 : type == ElementType::kQ6_K ? 64 : 32;
  const size_t size = type == ElementType::kQ6_K ? 16 : 32;
  std::vector<float> y(x.size());
  for (size_t b = 0; b < x.size(); b += size) {
    const auto [least, most] = std::minmax_element(x.begin() + b, x.begin() + b + size);
    const float extreme = -*least > *most ? *least : *most;
    const float offset = affine ? *least : extreme;
    const float d = affine ? (*most - *least) / (levels - 1) : -2 * extreme / levels;
    for (size_t i = b; i < b + size; ++i)
      y[i] = offset + d * std::clamp(std::round((x[i] - offset) / d), 0.0f, levels - 1.0f);
  }
  return y;
}

TEST(BlockCodec, SearchedScalesBeatTheExtremes) {
  struct Case {
    ElementType type;
    double normal, heavy;  ///< the part of the plain encoder's error that may be left
  };
  // Measured, with 1 % of room. Scales of 6 bits cost the K types a part of their gain.
  const Case cases[] = {
      {ElementType::kQ4_0, 0.89, 0.94}, {ElementType::kQ5_0, 0.87, 0.92},
      {ElementType::kQ5_1, 0.79, 0.81}, {ElementType::kQ4_K, 0.82, 0.85},
      {ElementType::kQ5_K, 0.85, 0.88}, {ElementType::kQ6_K, 0.78, 0.83},
  };
  const std::vector<float> light = normal(1 << 16, 1), heavy = heavy_tailed(1 << 16, 2);
  for (const Case& c : cases) {
    const auto part = [&](const std::vector<float>& x) {
      const size_t block = element_format(c.type).elements;
      return weighted_error(x, through(c.type, x), block) /
             weighted_error(x, plainly(c.type, x), block);
    };
    EXPECT_LT(part(light), c.normal) << element_format(c.type).name;
    EXPECT_LT(part(heavy), c.heavy) << element_format(c.type).name;
  }
}

TEST(BlockCodec, TheErrorIsThatOfTheTypesBits) {
  const std::vector<float> x = normal(1 << 16, 3);
  const auto error = [&](ElementType type) {
    return std::sqrt(squared_error(x, through(type, x)) / static_cast<double>(x.size()));
  };
  EXPECT_EQ(error(ElementType::kF32), 0);
  EXPECT_NEAR(error(ElementType::kF16), 2.08e-4, 1e-5);
  EXPECT_NEAR(error(ElementType::kBF16), 1.66e-3, 1e-4);
  EXPECT_NEAR(error(ElementType::kQ8_0), 0.0053, 0.0002);
  EXPECT_LT(error(ElementType::kQ6_K), 0.0172);
  EXPECT_LT(error(ElementType::kQ5_K), 0.0355);
  EXPECT_LT(error(ElementType::kQ5_1), 0.0345);
  EXPECT_LT(error(ElementType::kQ5_0), 0.0415);
  EXPECT_LT(error(ElementType::kQ4_K), 0.0720);
  EXPECT_LT(error(ElementType::kQ4_0), 0.0835);
}

TEST(BlockCodec, Q8_0DividesByTheUnroundedScale) {
  std::vector<float> x = normal(32, 4);
  const Bytes row = encoded(ElementType::kQ8_0, x);
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  const float d = largest / 127;
  uint16_t stored;
  std::memcpy(&stored, row.data(), 2);
  EXPECT_EQ(stored, to_f16(d));
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(static_cast<int8_t>(row[2 + i]), std::round(x[i] * (1 / d)));
}

TEST(BlockCodec, WhatATypeCanHoldIsKept) {
  // Multiples of a half, all codes of each sub-block in use.
  for (const ElementType type : kCoded) {
    if (type == ElementType::kQ6_K) continue;  // 16 elements do not show 64 codes
    const int codes = type == ElementType::kQ4_0 || type == ElementType::kQ4_K ? 16 : 32;
    std::vector<float> x(256);
    for (int i = 0; i < 256; ++i) x[i] = 0.5f * static_cast<float>(i * 5 % codes - codes / 2);
    const std::vector<float> y = through(type, x);
    for (int i = 0; i < 256; ++i)
      ASSERT_NEAR(y[i], x[i], 0.04) << element_format(type).name << " " << i;
  }
}

TEST(BlockCodec, ZerosStayZerosAndOddValuesDoNoHarm) {
  const float inf = INFINITY;
  for (const ElementType type : kCoded) {
    for (const float y : through(type, std::vector<float>(512))) EXPECT_EQ(y, 0);
    for (const float odd : {1e-40f, -1e-30f, 1e-7f, 65504.0f, -1e30f, 3e38f, inf, -inf, NAN}) {
      std::vector<float> x(512, odd);
      for (const float y : through(type, x)) EXPECT_TRUE(std::isfinite(y)) << odd;
      x[100] = 1;
      for (const float y : through(type, x)) EXPECT_TRUE(std::isfinite(y)) << odd;
    }
    for (const float constant : {0.7f, -0.7f, 3000.0f}) {
      for (const float y : through(type, std::vector<float>(256, constant)))
        EXPECT_NEAR(y, constant, std::abs(constant) * 0.01) << element_format(type).name;
    }
  }
}

TEST(BlockCodec, RowsOfPartsOfBlocksKeepTheirValuesAndTheirPlace) {
  const std::vector<float> whole = normal(512, 5);
  for (const ElementType type : kCoded) {
    const int64_t block = element_format(type).elements;
    for (const int64_t cols : {int64_t{1}, int64_t{31}, block - 1, block + 1, 300 + block}) {
      const std::vector<float> x(whole.begin(), whole.begin() + std::min<int64_t>(cols, 512));
      const auto n = static_cast<int64_t>(x.size());
      const PackedMatrix shape = {type, nullptr, 1, n};
      Bytes row(shape.row_bytes() + 1, std::byte{0xA5});
      encode_row(type, x.data(), n, row.data());
      EXPECT_EQ(row.back(), std::byte{0xA5}) << "written past the end";
      std::vector<float> y(n + 1, 42);
      decode_row(type, row.data(), n, y.data());
      EXPECT_EQ(y.back(), 42);
      for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], x[i], 0.35) << element_format(type).name;
    }
  }
}

TEST(BlockCodec, AMatrixIsItsRowsOnAnyNumberOfThreads) {
  const std::vector<float> values = normal(7 * 320, 6);
  const ConstMat x(values.data(), 7, 300, 320);
  const int threads = num_threads();
  for (const ElementType type : {ElementType::kQ4_K, ElementType::kQ5_0, ElementType::kF16}) {
    Bytes one(PackedMatrix{type, nullptr, 7, 300}.bytes()), three = one;
    set_num_threads(1);
    encode_matrix(type, x, one.data());
    set_num_threads(3);
    encode_matrix(type, x, three.data());
    EXPECT_EQ(one, three);
    const PackedMatrix matrix = {type, one.data(), 7, 300};
    const std::vector<float> row(x.row(4), x.row(4) + 300);
    EXPECT_EQ(Bytes(matrix.row(4), matrix.row(5)), encoded(type, row));
    std::vector<float> decoded(300);
    decode_row(matrix, 4, decoded.data());
    EXPECT_EQ(decoded, through(type, row));
  }
  set_num_threads(threads);
}

TEST(BlockCodec, PlainTypesRoundEachValue) {
  const std::vector<float> x = {1, -0.0f, 1e-7f, 70000, 3.14159265f};
  for (const ElementType type : kPlain) {
    const std::vector<float> y = through(type, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const float expected = type == ElementType::kF32   ? x[i]
                             : type == ElementType::kF16 ? from_f16(to_f16(x[i]))
                                                         : from_bf16(to_bf16(x[i]));
      EXPECT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(expected));
    }
  }
  std::byte out[4];
  EXPECT_THROW(encode_row(ElementType::kI32, x.data(), 1, out), InternalError);
}

}  // namespace
}  // namespace axl
