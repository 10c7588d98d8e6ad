// Products of operands rounded to bf16. Skipped where the CPU has no AVX512_BF16.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "axl/base/parallel.h"
#include "axl/kernels/gemm.h"
#include "testing.h"

namespace axl {
namespace {

class Bf16Gemm : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_bf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  }
  void TearDown() override { set_num_threads(threads_); }
  int threads_ = num_threads();
};

/// To nearest, ties to even: the definition, on the bits.
float rounded(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t up = 0x7fff + (bits >> 16 & 1);
  return std::bit_cast<float>((bits + up) & 0xffff0000u);
}

struct Shape {
  int64_t m, n, k;
};
const Shape kShapes[] = {{1, 1, 1},    {3, 2, 1},    {2, 5, 9},     {12, 32, 32},  {13, 33, 31},
                         {17, 19, 23}, {25, 64, 47}, {96, 31, 384}, {97, 65, 385}, {40, 70, 1001}};

/// Compares with a double product of the rounded operands, inside wider matrices, and sees to it
/// that nothing beside C is written.
void check(const Shape& s, Trans ta, Trans tb, Write write, int64_t pad) {
  const bool at = ta == Trans::kYes, bt = tb == Trans::kYes;
  const float alpha = pad ? -0.75f : 1.0f;
  Matrix a = random_matrix(at ? s.k : s.m, (at ? s.m : s.k) + pad, 1);
  Matrix b = random_matrix(bt ? s.n : s.k, (bt ? s.k : s.n) + pad, 2);
  Matrix c = random_matrix(s.m, s.n + pad, 3);
  const Matrix before = c;
  gemm(ta, a.view().col_range(0, at ? s.m : s.k), tb, b.view().col_range(0, bt ? s.k : s.n),
       c.view().col_range(0, s.n), write, alpha, Precision::kBf16);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      const float old = before.values[i * c.cols + j];
      if (j >= s.n) {
        ASSERT_EQ(c(i, j), old) << "outside C";
        continue;
      }
      double sum = 0, size = 0;
      for (int64_t k = 0; k < s.k; ++k) {
        const double term =
            double(rounded(at ? a(k, i) : a(i, k))) * rounded(bt ? b(j, k) : b(k, j));
        sum += term, size += std::abs(term);
      }
      const double expected = (write == Write::kAdd ? old : 0.0) + alpha * sum;
      ASSERT_NEAR(c(i, j), expected, 1e-6 * (size + std::abs(old)))
          << s.m << "x" << s.n << "x" << s.k << (at ? " T" : " N") << (bt ? "T" : "N") << " at "
          << i << ", " << j;
    }
  }
}

TEST_F(Bf16Gemm, IsTheProductOfRoundedOperands) {
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    for (const Shape& s : kShapes)
      for (const Trans ta : {Trans::kNo, Trans::kYes})
        for (const Trans tb : {Trans::kNo, Trans::kYes})
          for (const Write write : {Write::kAssign, Write::kAdd})
            for (const int64_t pad : {0, 5}) check(s, ta, tb, write, pad);
  }
}

TEST_F(Bf16Gemm, RoundsToNearestEven) {
  const float one = 1.0f, ulp = 1.0f / 128;  // of bf16 at 1
  const float inputs[] = {1 + ulp / 2, 1 + 1.5f * ulp, 1 + 0.49f * ulp, 1 + 0.51f * ulp,
                          -1 - ulp / 2};
  const float outputs[] = {1, 1 + 2 * ulp, 1, 1 + ulp, -1};
  for (int i = 0; i < 5; ++i) {
    float c = 0;
    gemm(Trans::kNo, ConstMat(&inputs[i], 1, 1), Trans::kNo, ConstMat(&one, 1, 1), Mat(&c, 1, 1),
         Write::kAssign, 1.0f, Precision::kBf16);
    EXPECT_EQ(c, outputs[i]) << inputs[i];
    EXPECT_EQ(rounded(inputs[i]), outputs[i]);
  }
}

TEST_F(Bf16Gemm, LetsNothingThatIsNotFiniteDisappear) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    Matrix a = random_matrix(20, 40, 1), b = random_matrix(40, 50, 2), c(20, 50);
    a(7, 33) = bad;
    gemm(Trans::kNo, a.view(), Trans::kNo, b.view(), c.view(), Write::kAssign, 1.0f,
         Precision::kBf16);
    for (int64_t i = 0; i < 20; ++i)
      for (int64_t j = 0; j < 50; ++j) EXPECT_EQ(std::isfinite(c(i, j)), i != 7) << i << " " << j;
  }
}

TEST_F(Bf16Gemm, DoesNotDependOnTheNumberOfThreadsBitForBit) {
  for (const Shape& s : {Shape{200, 260, 130}, {700, 33, 400}, {128, 344, 1500}}) {
    for (const Trans ta : {Trans::kNo, Trans::kYes}) {
      const bool at = ta == Trans::kYes;
      Matrix a = random_matrix(at ? s.k : s.m, at ? s.m : s.k, 1), b = random_matrix(s.n, s.k, 2);
      Matrix expected = random_matrix(s.m, s.n, 3), start = expected;
      gemm_serial(ta, a.view(), Trans::kYes, b.view(), expected.view(), Write::kAdd, 1.0f,
                  Precision::kBf16);
      for (const int threads : {1, 2, 3, 5}) {
        set_num_threads(threads);
        Matrix c = start;
        gemm(ta, a.view(), Trans::kYes, b.view(), c.view(), Write::kAdd, 1.0f, Precision::kBf16);
        EXPECT_TRUE(c.values == expected.values) << s.m << ", " << threads << " threads";
      }
    }
  }
}

TEST_F(Bf16Gemm, AnEmptySumIsZeroAndAnEmptyProductNothing) {
  Matrix a(20, 0), b(0, 6), c = random_matrix(20, 6, 1), none(0, 6);
  gemm(Trans::kNo, none.view().reshaped(0, 6), Trans::kNo, random_matrix(6, 6, 1).view(),
       none.view(), Write::kAssign, 1.0f, Precision::kBf16);
  gemm(Trans::kNo, a.view(), Trans::kNo, b.view(), c.view(), Write::kAssign, 1.0f,
       Precision::kBf16);
  for (const float v : c.values) EXPECT_EQ(v, 0.0f);
}

}  // namespace
}  // namespace axl
