// Products of f32 by the backend, and of a few rows by axl itself.
#include "axl/kernels/gemm.h"

#include <algorithm>
#include <cmath>

#include "isa_testing.h"
#include "testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(Gemm);

/// A matrix inside a wider one, so that its stride differs from its columns.
struct Strided {
  Strided(int64_t rows, int64_t cols, int64_t pad, uint64_t seed)
      : memory(random_matrix(rows, cols + pad, seed)), rows(rows), cols(cols), pad(pad) {}
  Mat view() { return {memory.data() + pad / 2, rows, cols, cols + pad}; }
  Matrix memory;
  int64_t rows, cols, pad;
};

struct Product {
  Trans ta, tb;
  int64_t m, n, k, pad;
  Write write;
  float alpha;
};

std::ostream& operator<<(std::ostream& out, const Product& p) {
  return out << (p.ta == Trans::kYes ? "T" : "N") << (p.tb == Trans::kYes ? "T" : "N") << " " << p.m
             << "x" << p.n << "x" << p.k << " pad " << p.pad
             << (p.write == Write::kAdd ? " add " : " assign ") << p.alpha;
}

using Multiply = void (*)(Trans, ConstMat, Trans, ConstMat, Mat, Write, float, Precision);

/// Compares one product with a plain one in double, and the elements around C with what they were.
void check_product(const Product& p, Multiply multiply) {
  const bool ta = p.ta == Trans::kYes, tb = p.tb == Trans::kYes;
  Strided a(ta ? p.k : p.m, ta ? p.m : p.k, p.pad, 1), b(tb ? p.n : p.k, tb ? p.k : p.n, p.pad, 2);
  Strided c(p.m, p.n, p.pad, 3);
  Strided before = c;
  multiply(p.ta, a.view(), p.tb, b.view(), c.view(), p.write, p.alpha, Precision::kF32);
  const Mat av = a.view(), bv = b.view(), cv = c.view(), old = before.view();
  const double tolerance = 1e-6 * (8 + p.k);
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < p.k; ++k)
        sum += double(ta ? av(k, i) : av(i, k)) * (tb ? bv(j, k) : bv(k, j));
      const double expected = (p.write == Write::kAdd ? old(i, j) : 0.0) + p.alpha * sum;
      ASSERT_NEAR(cv(i, j), expected, tolerance) << p << " at " << i << ", " << j;
    }
    std::copy_n(old.row(i), p.n, cv.row(i));
  }
  EXPECT_EQ(c.memory.values, before.memory.values) << p << ": wrote outside C";
}

void check_all_forms(int64_t m, int64_t n, int64_t k, Multiply multiply) {
  for (const Trans ta : {Trans::kNo, Trans::kYes})
    for (const Trans tb : {Trans::kNo, Trans::kYes})
      for (const Write write : {Write::kAssign, Write::kAdd})
        for (const int64_t pad : {0, 6})
          check_product({ta, tb, m, n, k, pad, write, pad ? -0.75f : 1.0f}, multiply);
}

TEST_P(Gemm, MatchesDoubleAtOddSizes) {
  const int64_t sizes[][3] = {{1, 1, 1},  {1, 7, 3},  {2, 5, 9},    {3, 31, 17},  {4, 33, 64},
                              {5, 40, 1}, {7, 1, 13}, {17, 19, 23}, {64, 48, 32}, {65, 129, 31}};
  for (const auto& [m, n, k] : sizes) {
    check_all_forms(m, n, k, gemm);
    check_all_forms(m, n, k, gemm_serial);
  }
}

// Products of transposed A copy such rows of B before they multiply them, some at a time: by AVX2
// those that lie multiples of 512 floats apart, by AVX-512 of 1024.
TEST_P(Gemm, MatchesDoubleWhereRowsShareCacheSets) {
  for (const int64_t stride : {512, 1024})
    for (const Trans ta : {Trans::kNo, Trans::kYes})
      for (const Trans tb : {Trans::kNo, Trans::kYes})
        for (const Write write : {Write::kAssign, Write::kAdd})
          check_product({ta, tb, 40, 40, 300, stride - 40, write, -0.75f}, gemm_serial);
}

// B of A · B is copied, some rows at a time, where its rows lie at least a page apart, by multiples
// of 512 floats.
TEST_P(Gemm, MatchesDoubleWhereRowsOfBLieAcrossPages) {
  for (const int64_t stride : {1024, 1536})
    for (const int64_t k : {1, 512, 700})
      for (const Write write : {Write::kAssign, Write::kAdd})
        check_product({Trans::kNo, Trans::kNo, 70, 40, k, stride - 40, write, -0.75f}, gemm_serial);
}

// Where C is large, A is transposed, some rows at a time.
TEST_P(Gemm, MatchesDoubleWithALargeCOfTransposedA) {
  for (const int64_t k : {1, 128, 300})
    for (const Write write : {Write::kAssign, Write::kAdd})
      check_product({Trans::kYes, Trans::kNo, 131, 129, k, 3, write, -0.75f}, gemm_serial);
}

// Where C has some rows and is narrow, B is copied first: always if it lies transposed, otherwise
// if its rows lie multiples of 512 floats apart.
TEST_P(Gemm, MatchesDoubleWithACopyOfB) {
  const Threads two(2);
  for (const Trans tb : {Trans::kNo, Trans::kYes})
    for (const int64_t n : {1, 150})
      for (const Write write : {Write::kAssign, Write::kAdd})
        check_product({Trans::kNo, tb, 259, n, 77, 512 - n, write, -0.75f}, gemm);
}

// Few rows go another way; how many are few depends on the instruction set.
TEST_P(Gemm, MatchesDoubleAroundTheLargestNumberOfFewRows) {
  const int64_t few = detail::few_rows();
  for (const int64_t m : {few - 3, few - 2, few - 1, few, few + 1})
    check_all_forms(m, 37, 45, gemm);
}

TEST_P(Gemm, ARowAmongFewDoesNotDependOnTheOthers) {
  const Matrix b = random_matrix(37, 45, 2);
  Matrix x = random_matrix(detail::few_rows(), 45, 1);
  for (int64_t rows = 1; rows <= x.rows; ++rows) {
    Matrix all(rows, 37), one(1, 37);
    gemm(Trans::kNo, x.view().row_range(0, rows), Trans::kYes, Matrix(b).view(), all.view(),
         Write::kAssign);
    gemm(Trans::kNo, x.view().row_range(rows - 1, 1), Trans::kYes, Matrix(b).view(), one.view(),
         Write::kAssign);
    EXPECT_TRUE(std::equal(one.values.begin(), one.values.end(), all.view().row(rows - 1)));
  }
}

TEST_P(Gemm, MatchesDoubleInTiles) {
  const Threads two(2);
  for (const Trans ta : {Trans::kNo, Trans::kYes})
    for (const Trans tb : {Trans::kNo, Trans::kYes})
      check_product({ta, tb, 203, 301, 157, 3, Write::kAdd, 0.5f}, gemm);  // 19 MFLOP: 4 tiles
}

// As a gradient of weights is: by halves of the rows that are summed over, some rows at a time.
TEST_P(Gemm, MatchesDoubleInHalves) {
  const Threads two(2);
  for (const Write write : {Write::kAssign, Write::kAdd})
    check_product({Trans::kYes, Trans::kNo, 97, 83, 6101, 3, write, 0.5f}, gemm);
}

TEST_P(Gemm, AnEmptySumIsZeroAndAnEmptyProductNothing) {
  for (const int64_t m : {1, 5, 48}) {  // few rows and more, by any instruction set
    check_all_forms(m, 6, 0, gemm);
    check_all_forms(m, 0, 5, gemm);
  }
  check_all_forms(0, 6, 5, gemm);
}

TEST_P(Gemm, AssignsOverWhateverWasThere) {
  for (const int64_t m : {2, 40}) {
    Matrix a = random_matrix(m, 8, 1), b = random_matrix(12, 8, 2), c(m, 12);
    std::fill(c.values.begin(), c.values.end(), std::nanf(""));
    gemm(Trans::kNo, a.view(), Trans::kYes, b.view(), c.view(), Write::kAssign);
    for (const float v : c.values) ASSERT_TRUE(std::isfinite(v));
  }
}

TEST_P(Gemm, RefusesShapesThatDoNotFit) {
  Matrix a(3, 4), b(5, 4), c(3, 5);
  EXPECT_THROW(gemm(Trans::kNo, a.view(), Trans::kNo, b.view(), c.view(), Write::kAssign),
               InternalError);
  EXPECT_THROW(gemm(Trans::kYes, a.view(), Trans::kYes, b.view(), c.view(), Write::kAssign),
               InternalError);
}

void expect_same_on_any_number_of_threads(Trans ta, const Matrix& a, Trans tb, const Matrix& b,
                                          int64_t m, int64_t n) {
  std::vector<float> expected;
  for (const int threads : {1, 2, 3, 6}) {
    const Threads set(threads);
    Matrix c(m, n);
    gemm(ta, Matrix(a).view(), tb, Matrix(b).view(), c.view(), Write::kAssign);
    if (threads == 1) expected = c.values;
    EXPECT_TRUE(c.values == expected) << m << "x" << n << ", " << threads;
  }
}

TEST_P(Gemm, DoesNotDependOnTheNumberOfThreads) {
  const int64_t sizes[][3] = {{2, 900, 300}, {200, 260, 130}, {512, 160, 64}, {33, 700, 400}};
  for (const auto& [m, n, k] : sizes)
    expect_same_on_any_number_of_threads(Trans::kNo, random_matrix(m, k, 1), Trans::kYes,
                                         random_matrix(n, k, 2), m, n);
  expect_same_on_any_number_of_threads(Trans::kYes, random_matrix(6101, 97, 1), Trans::kNo,
                                       random_matrix(6101, 83, 2), 97, 83);
}

}  // namespace
}  // namespace axl
