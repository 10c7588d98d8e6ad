#include "axl/kernels/packed_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "axl/formats/block_codec.h"
#include "coded_testing.h"
#include "isa_testing.h"
#include "testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(PackedGemm);

constexpr ElementType kTypes[] = {ElementType::kF32,  ElementType::kF16,  ElementType::kBF16,
                                  ElementType::kQ8_0, ElementType::kQ4_K, ElementType::kQ6_K};

/// What a row of activations is rounded to in 8 bits, or itself for plain weights.
std::vector<double> rounded(const float* x, int64_t cols, ElementType type) {
  std::vector<double> out(x, x + cols);
  if (element_format(type).elements == 1) return out;
  for (int64_t begin = 0; begin < cols; begin += 32) {
    const int64_t end = std::min(cols, begin + 32);
    double top = 0;
    for (int64_t i = begin; i < end; ++i) top = std::max(top, std::abs(double(x[i])));
    for (int64_t i = begin; i < end && top > 0; ++i)
      out[i] = std::nearbyint(x[i] * (127.0f / float(top))) * top / 127;
  }
  return out;
}

Matrix reference(Matrix x, Coded& w) {
  Matrix y(x.rows, w.values.rows);
  for (int64_t r = 0; r < x.rows; ++r) {
    const std::vector<double> row = rounded(x.view().row(r), x.cols, w.matrix.type);
    for (int64_t n = 0; n < w.values.rows; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < x.cols; ++k) sum += row[k] * w.values(n, k);
      y(r, n) = static_cast<float>(sum);
    }
  }
  return y;
}

/// The minima of q4_k multiply sums of activations that have 16 bits.
double tolerance(ElementType type) { return type == ElementType::kQ4_K ? 1e-4 : 2e-5; }

TEST_P(PackedGemm, MultipliesWhatTheCodedRowsStandFor) {
  for (ElementType type : kTypes) {
    for (int64_t cols : {1, 31, 32, 33, 64, 224, 256, 257, 688, 1024}) {
      for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 17, 18, 27}) {
        Coded w(type, 37, cols, cols);
        const Matrix x = random_matrix(rows, cols, 7 * cols + rows);
        Matrix y(rows, 37), expected = reference(x, w);
        packed_gemm(Matrix(x).view(), {&w.matrix, 1}, y.view(), Write::kAssign);
        EXPECT_LT(relative_error(y.values.data(), expected.values.data(), y.values.size()),
                  tolerance(type))
            << element_format(type).name << " " << cols << " " << rows;
      }
    }
  }
}

TEST_P(PackedGemm, StacksRunsOfDifferentTypesAndAdds) {
  Coded a(ElementType::kQ4_K, 20, 256, 1), b(ElementType::kQ6_K, 9, 256, 2),
      c(ElementType::kBF16, 5, 256, 3);
  const Matrix x = random_matrix(4, 256, 4);
  Matrix y(4, 34);
  for (float& v : y.values) v = 1.0f;
  const PackedMatrix runs[] = {a.matrix, {}, b.matrix, c.matrix};
  packed_gemm(Matrix(x).view(), runs, y.view(), Write::kAdd);
  int64_t column = 0;
  for (Coded* w : {&a, &b, &c}) {
    const Matrix expected = reference(x, *w);
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t n = 0; n < w->values.rows; ++n)
        EXPECT_NEAR(y(r, column + n), 1.0f + Matrix(expected)(r, n), 3e-3);
    column += w->values.rows;
  }
}

TEST_P(PackedGemm, ARowDoesNotDependOnOtherRowsOrThreads) {
  for (ElementType type : kTypes) {
    Coded w(type, 700, 320, 11);
    Matrix x = random_matrix(9, 320, 12), all(9, 700), one(1, 700);
    {
      const Threads two(2);
      packed_gemm(x.view(), {&w.matrix, 1}, all.view(), Write::kAssign);
    }
    const Threads single(1);
    packed_gemm(x.view().row_range(8, 1), {&w.matrix, 1}, one.view(), Write::kAssign);
    EXPECT_EQ(0, std::memcmp(one.values.data(), &all(8, 0), sizeof(float) * 700))
        << element_format(type).name;
  }
}

TEST_P(PackedGemm, AmongManyRowsARowDoesNotDependOnTheOthersOrThreads) {
  for (ElementType type : kTypes) {
    Coded w(type, 700, 320, 11);
    Matrix x = random_matrix(45, 320, 12), one(45, 700), three(45, 700);
    {
      const Threads threads(3);
      packed_gemm(x.view(), {&w.matrix, 1}, three.view(), Write::kAssign);
    }
    const Threads single(1);
    for (int64_t r = 0; r < 45; ++r)
      if (r != 26) std::fill_n(x.view().row(r), 320, 9.0f);
    packed_gemm(x.view(), {&w.matrix, 1}, one.view(), Write::kAssign);
    EXPECT_EQ(0, std::memcmp(&one(26, 0), &three(26, 0), sizeof(float) * 700))
        << element_format(type).name;
  }
}

TEST_P(PackedGemm, ExtremeCodesDoNotOverflow) {
  Coded w(ElementType::kQ8_0, 1, 64, 1);
  // −128, which no encoder here writes, in every place.
  for (int64_t block = 0; block < 2; ++block)
    std::memset(w.bytes.data() + 34 * block + 2, 0x80, 32);
  decode_row(w.matrix, 0, w.values.view().row(0));
  w.pack();
  double sum = 0;
  for (float v : w.values.values) sum += v;
  for (int64_t rows : {1, 16}) {
    Matrix x(rows, 64), y(rows, 1);
    for (float& v : x.values) v = 1.0f;
    packed_gemm(x.view(), {&w.matrix, 1}, y.view(), Write::kAssign);
    for (float v : y.values) EXPECT_NEAR(v / sum, 1.0, 1e-5);
  }
}

TEST_P(PackedGemm, LargestCodesScalesAndMinimaDoNotOverflow) {
  Coded w(ElementType::kQ4_K, 1, 256, 1);
  std::memset(w.bytes.data() + 4, 0xff, 140);  // all but the two units
  decode_row(w.matrix, 0, w.values.view().row(0));
  w.pack();
  for (float sign : {1.0f, -1.0f}) {
    Matrix x(1, 256), y(1, 1);
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < 256; ++k) {
      x(0, k) = sign;
      sum += sign * w.values(0, k);
      magnitude += std::abs(w.values(0, k));
    }
    packed_gemm(x.view(), {&w.matrix, 1}, y.view(), Write::kAssign);
    EXPECT_NEAR(y(0, 0), sum, 1e-4 * magnitude);
  }
}

TEST_P(PackedGemm, UsesTheInstructionSetThatIsChosen) {
  const bool vnni = detail::packed_products().size() == 2;
  const bool avx512 = std::string(GetParam()->isa) != "avx2";
  EXPECT_STREQ(packed_gemm_isa(), avx512 && vnni ? "avx512_vnni" : "avx2");
}

TEST(PackedProducts, IntegersGiveTheSameBitsOnEveryInstructionSet) {
  const auto sets = detail::packed_products();
  if (sets.size() < 2) GTEST_SKIP() << "this CPU has AVX2 alone";
  for (ElementType type : {ElementType::kQ8_0, ElementType::kQ4_K, ElementType::kQ6_K}) {
    constexpr int64_t kRows = 31, kColumns = 48;  // tiles of every size, panels alone and in pairs
    Coded w(type, kColumns, 1024, 5);
    Matrix x = random_matrix(kRows, 1024, 6);
    detail::ActivationBlock blocks[kRows * 4];
    for (int64_t r = 0; r < kRows; ++r)
      detail::quantize_activations(x.view().row(r), 1024, blocks + 4 * r);
    const auto product = [&](const detail::PackedProducts& set) {
      const detail::PackedProducts::Coded& of = type == ElementType::kQ8_0   ? set.q8_0
                                                : type == ElementType::kQ4_K ? set.q4_k
                                                                             : set.q6_k;
      const int64_t bytes = of.panel_bytes(1024), panels = kColumns / set.panel_rows;
      const Buffer room(panels * bytes);
      auto* first = static_cast<std::byte*>(room.data());
      for (int64_t i = 0; i < panels; ++i)
        of.pack(w.matrix.row(i * set.panel_rows), w.matrix.row_bytes(), set.panel_rows, 1024,
                first + i * bytes);
      std::vector<float> y(kRows * kColumns);
      of.multiply({first, kColumns, 1024, blocks, kRows, y.data(), kColumns, false});
      return y;
    };
    EXPECT_EQ(product(sets[0]), product(sets[1])) << element_format(type).name;
  }
}

}  // namespace
}  // namespace axl
