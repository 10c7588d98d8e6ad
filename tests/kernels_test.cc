#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "axl/base/parallel.h"
#include "axl/kernels/elementwise.h"
#include "axl/kernels/fusion.h"
#include "axl/kernels/gemm.h"
#include "kernels/vector_math.h"
#include "testing.h"

namespace axl {
namespace {

/// Sets the number of threads for a scope.
class Threads {
 public:
  explicit Threads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

// ---- gemm ---------------------------------------------------------------------------------------

/// A matrix inside a wider one, so that its stride differs from its columns.
struct Strided {
  Strided(int64_t rows, int64_t cols, int64_t pad, uint64_t seed)
      : memory(random_matrix(rows, cols + pad, seed)), rows(rows), cols(cols), pad(pad) {}
  Mat view() { return {memory.values.data() + pad / 2, rows, cols, cols + pad}; }
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

using Gemm = void (*)(Trans, ConstMat, Trans, ConstMat, Mat, Write, float, Precision);

/// Compares one product with a plain one in double, and the elements around C with what they were.
void check_product(const Product& p, Gemm multiply) {
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

void check_all_forms(int64_t m, int64_t n, int64_t k, Gemm multiply) {
  for (const Trans ta : {Trans::kNo, Trans::kYes})
    for (const Trans tb : {Trans::kNo, Trans::kYes})
      for (const Write write : {Write::kAssign, Write::kAdd})
        for (const int64_t pad : {0, 6})
          check_product({ta, tb, m, n, k, pad, write, pad ? -0.75f : 1.0f}, multiply);
}

TEST(Gemm, MatchesDoubleAtOddSizes) {
  const int64_t sizes[][3] = {{1, 1, 1},  {1, 7, 3},  {2, 5, 9},    {3, 31, 17},  {4, 33, 64},
                              {5, 40, 1}, {7, 1, 13}, {17, 19, 23}, {64, 48, 32}, {65, 129, 31}};
  for (const auto& [m, n, k] : sizes) {
    check_all_forms(m, n, k, gemm);
    check_all_forms(m, n, k, gemm_serial);
  }
}

TEST(Gemm, MatchesDoubleInTiles) {
  const Threads two(2);
  for (const Trans ta : {Trans::kNo, Trans::kYes})
    for (const Trans tb : {Trans::kNo, Trans::kYes})
      check_product({ta, tb, 203, 301, 157, 3, Write::kAdd, 0.5f}, gemm);  // 19 MFLOP: 4 tiles
}

TEST(Gemm, AnEmptySumIsZeroAndAnEmptyProductNothing) {
  for (const int64_t m : {1, 3, 20}) {  // by gemv and not
    check_all_forms(m, 6, 0, gemm);
    check_all_forms(m, 0, 5, gemm);
  }
  check_all_forms(0, 6, 5, gemm);
}

TEST(Gemm, AssignsOverWhateverWasThere) {
  for (const int64_t m : {2, 40}) {
    Matrix a = random_matrix(m, 8, 1), b = random_matrix(12, 8, 2), c(m, 12);
    std::fill(c.values.begin(), c.values.end(), std::nanf(""));
    gemm(Trans::kNo, a.view(), Trans::kYes, b.view(), c.view(), Write::kAssign);
    for (const float v : c.values) ASSERT_TRUE(std::isfinite(v));
  }
}

TEST(Gemm, RefusesShapesThatDoNotFit) {
  Matrix a(3, 4), b(5, 4), c(3, 5);
  EXPECT_THROW(gemm(Trans::kNo, a.view(), Trans::kNo, b.view(), c.view(), Write::kAssign),
               InternalError);
  EXPECT_THROW(gemm(Trans::kYes, a.view(), Trans::kYes, b.view(), c.view(), Write::kAssign),
               InternalError);
}

TEST(Gemm, DoesNotDependOnTheNumberOfThreads) {
  const int64_t sizes[][3] = {{2, 900, 300}, {200, 260, 130}, {512, 160, 64}, {33, 700, 400}};
  for (const auto& [m, n, k] : sizes) {
    Matrix a = random_matrix(m, k, 1), b = random_matrix(n, k, 2);
    std::vector<float> expected;
    for (const int threads : {1, 2, 3}) {
      const Threads set(threads);
      Matrix c(m, n);
      gemm(Trans::kNo, a.view(), Trans::kYes, b.view(), c.view(), Write::kAssign);
      if (threads == 1) expected = c.values;
      EXPECT_TRUE(c.values == expected) << m << "x" << n << "x" << k << ", " << threads;
    }
  }
}

// ---- Exponential and cross-entropy --------------------------------------------------------------

TEST(FastExp, IsWithinItsErrorBoundAndClampsOutside) {
  double worst = 0;
  for (double x = -87; x <= 88; x += 1.7e-4) {
    const auto f = static_cast<float>(x);
    worst = std::max(worst, std::abs(fast_exp(f) / std::exp(double(f)) - 1));
  }
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-INFINITY), fast_exp(-87.0f));
  EXPECT_EQ(fast_exp(INFINITY), fast_exp(88.0f));
}

TEST(CrossEntropy, MatchesDoubleAndSkipsWhatIsNotScored) {
  for (const int64_t vocab : {2, 7, 258}) {
    const int64_t rows = 37;
    Matrix logits = random_matrix(rows, vocab, 1, 8.0);
    const Matrix before = logits;
    std::vector<int32_t> targets(rows);
    Rng rng(2);
    for (int64_t r = 0; r < rows; ++r)
      targets[r] = r % 5 == 3 ? -1 : static_cast<int32_t>(rng.below(vocab));
    std::vector<float> nll(rows, 9.0f), again(rows, 9.0f);
    cross_entropy(logits.view(), targets, nll.data());
    EXPECT_EQ(logits.values, before.values);
    cross_entropy_backward(logits.view(), targets, 0.25f, again.data());
    EXPECT_EQ(nll, again);
    for (int64_t r = 0; r < rows; ++r) {
      const float* x = before.values.data() + r * vocab;
      double sum = 0;
      for (int64_t i = 0; i < vocab; ++i) sum += std::exp(double(x[i]));
      const double expected = targets[r] < 0 ? 0 : std::log(sum) - x[targets[r]];
      EXPECT_NEAR(nll[r], expected, 1e-5 * (1 + std::abs(expected)));
      for (int64_t i = 0; i < vocab; ++i) {
        const double d = targets[r] < 0 ? 0 : std::exp(double(x[i])) / sum - (i == targets[r]);
        EXPECT_NEAR(logits(r, i), 0.25 * d, 1e-6);
      }
    }
  }
}

TEST(CrossEntropy, StaysFiniteForExtremeLogitsAndTellsOfNaN) {
  Matrix logits(4, 4);
  const float rows[4][4] = {{3e38f, 0, -3e38f, 1},
                            {0, INFINITY, 0, 0},
                            {0, 1, std::nanf(""), 2},
                            {0, -INFINITY, 0, 0}};  // an exponential of 0 alone would hide it
  std::memcpy(logits.values.data(), rows, sizeof rows);
  std::vector<float> nll(4);
  cross_entropy(logits.view(), std::vector<int32_t>{0, 0, 0, 0}, nll.data());
  EXPECT_EQ(nll[0], 0.0f);
  for (int r = 1; r < 4; ++r) EXPECT_FALSE(std::isfinite(nll[r])) << r;
}

// ---- Element-wise -------------------------------------------------------------------------------

TEST(RmsNorm, MatchesDoubleAtOddWidthsAndInPlace) {
  for (const int64_t width : {1, 2, 15, 33, 256}) {
    for (const int64_t rows : {1, 5, 300}) {
      Matrix x = random_matrix(rows, width, 1, 3.0), gain = random_matrix(1, width, 2);
      Matrix y(rows, width);
      std::vector<float> rstd(rows);
      rms_norm(x.view(), gain.view(), 1e-5f, y.view(), rstd.data());
      for (int64_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (int64_t i = 0; i < width; ++i) squares += double(x(r, i)) * x(r, i);
        const double scale = 1 / std::sqrt(squares / width + 1e-5);
        ASSERT_NEAR(rstd[r] / scale, 1.0, 1e-5);
        for (int64_t i = 0; i < width; ++i)
          ASSERT_NEAR(y(r, i), x(r, i) * scale * gain(0, i), 2e-5);
      }
      Matrix again(rows, width);
      rms_norm_again(x.view(), gain.view(), rstd.data(), again.view());
      EXPECT_EQ(again.values, y.values);
      rms_norm(x.view(), gain.view(), 1e-5f, x.view(), rstd.data());
      EXPECT_EQ(x.values, y.values);
    }
  }
}

TEST(RmsNorm, OfZerosIsZero) {
  Matrix x(2, 9), gain = random_matrix(1, 9, 1), y = random_matrix(2, 9, 2);
  std::vector<float> rstd(2);
  rms_norm(x.view(), gain.view(), 1e-5f, y.view(), rstd.data());
  for (const float v : y.values) EXPECT_EQ(v, 0.0f);
}

TEST(SwiGlu, MatchesDoubleAtOddWidths) {
  for (const int64_t width : {1, 3, 17, 136}) {
    const int64_t rows = 19;
    Matrix gate_up = random_matrix(rows, 2 * width, 1, 4.0), act(rows, width);
    Matrix d_act = random_matrix(rows, width, 2), d_gate_up(rows, 2 * width);
    swiglu(gate_up.view(), act.view());
    Matrix act_again = d_act;
    swiglu_backward(gate_up.view(), act_again.view(), d_gate_up.view());
    EXPECT_EQ(act_again.values, act.values);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i) {
        const double g = gate_up(r, i), u = gate_up(r, width + i), d = d_act(r, i);
        const double s = 1 / (1 + std::exp(-g));
        ASSERT_NEAR(act(r, i), g * s * u, 2e-5);
        ASSERT_NEAR(d_gate_up(r, width + i), d * g * s, 2e-5);
        ASSERT_NEAR(d_gate_up(r, i), d * u * (s + g * s * (1 - s)), 2e-5);
      }
  }
}

TEST(SumOfSquares, IsExactEnoughAndIndependentOfTheThreads) {
  for (const int64_t n : {0, 1, 31, 32, 100001}) {
    const Matrix x = random_matrix(1, n, 1);
    long double exact = 0;
    for (const float v : x.values) exact += static_cast<long double>(v) * v;
    double first = 0;
    for (const int threads : {1, 2, 3}) {
      const Threads set(threads);
      const double sum = sum_of_squares(x.values.data(), n);
      if (threads == 1) first = sum;
      EXPECT_EQ(sum, first) << n << ", " << threads << " threads";
    }
    EXPECT_NEAR(first, static_cast<double>(exact), 1e-12 * (1 + static_cast<double>(exact)));
  }
}

TEST(SumOfSquares, DoesNotOverflowAFloatsRange) {
  const std::vector<float> x(100, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_of_squares(x.data(), 100)));
}

TEST(Rope, TurnsBackAndKeepsLengths) {
  Matrix cos(40, 3), sin(40, 3), x = random_matrix(9, 12, 1);
  const Matrix before = x;
  const RopeTable table{cos.view(), sin.view()};
  fill_rope_table(10000, table);
  rope(x.view(), table, 3, 4, false);
  for (int64_t r = 0; r < 9; ++r)
    for (int64_t i = 0; i < 12; i += 2) {
      const double angle = (3 + 4 * r) * std::pow(10000.0, -double(i % 6 / 2) / 3);
      const double a = before.values[r * 12 + i], b = before.values[r * 12 + i + 1];
      EXPECT_NEAR(x(r, i), a * std::cos(angle) - b * std::sin(angle), 1e-5);
      EXPECT_NEAR(x(r, i + 1), a * std::sin(angle) + b * std::cos(angle), 1e-5);
    }
  rope(x.view(), table, 3, 4, true);
  EXPECT_LT(relative_error(x.values.data(), before.values.data(), 9 * 12), 1e-6);
}

TEST(Rows, ScatterIsTheTransposeOfGather) {
  const std::vector<int32_t> ids = {4, 0, 4, 2, 4};
  Matrix table = random_matrix(5, 50, 1), out(5, 50), d_out = random_matrix(5, 50, 2), d(5, 50);
  gather_rows(table.view(), ids, out.view());
  scatter_add_rows(d_out.view(), ids, d.view());
  for (int64_t i = 0; i < 50; ++i) {
    for (int64_t r = 0; r < 5; ++r) EXPECT_EQ(out(r, i), table(ids[r], i));
    EXPECT_EQ(d(4, i), d_out(0, i) + d_out(2, i) + d_out(4, i));
    EXPECT_EQ(d(0, i), d_out(1, i));
    EXPECT_EQ(d(1, i), 0.0f);
  }
}

// ---- Fusion -------------------------------------------------------------------------------------

TEST(Fusion, MatchesDoubleAlsoWhereScalesAreMissing) {
  const int64_t scales = 3, width = 7;
  Matrix weight = random_matrix(scales, scales * width, 1, 2.0),
         u = random_matrix(scales, width, 2);
  for (int missing = 0; missing < 8; ++missing) {
    const float* views[3];
    for (int64_t s = 0; s < scales; ++s) views[s] = missing >> s & 1 ? nullptr : u.view().row(s);
    float alpha[3], rstd[3];
    std::vector<float> out(width);
    fuse_row(views, scales, weight.view(), 1e-5f, alpha, rstd, out.data());
    double z[3] = {}, sum = 0;
    for (int64_t s = 0; s < scales; ++s) {
      if (!views[s]) continue;
      double squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += double(u(s, i)) * u(s, i);
      for (int64_t k = 0; k < scales; ++k)
        for (int64_t i = 0; i < width; ++i)
          z[k] += weight(k, s * width + i) * u(s, i) / std::sqrt(squares / width + 1e-5) /
                  std::sqrt(double(scales * width));
    }
    for (const double v : z) sum += std::exp(v);
    for (int64_t k = 0; k < scales; ++k) EXPECT_NEAR(alpha[k], std::exp(z[k]) / sum, 1e-6);
    for (int64_t i = 0; i < width; ++i) {
      double expected = 0;
      for (int64_t s = 0; s < scales; ++s)
        if (views[s]) expected += std::exp(z[s]) / sum * u(s, i);
      EXPECT_NEAR(out[i], expected, 1e-6);
    }
  }
}

TEST(SumFusion, IsTheSumOfTheViewsThereAre) {
  const int64_t width = 7;
  Matrix u = random_matrix(3, width, 2);
  for (int missing = 0; missing < 7; ++missing) {
    const float* views[3];
    for (int64_t s = 0; s < 3; ++s) views[s] = missing >> s & 1 ? nullptr : u.view().row(s);
    float alpha[3];
    std::vector<float> out(width, 9.0f);
    sum_row(views, 3, width, alpha, out.data());
    double rms[3] = {}, all = 0;
    for (int64_t i = 0; i < width; ++i) {
      double expected = 0;
      for (int64_t s = 0; s < 3; ++s) expected += views[s] ? u(s, i) : 0.0;
      EXPECT_NEAR(out[i], expected, 1e-6);
    }
    for (int64_t s = 0; s < 3; ++s) {
      for (int64_t i = 0; i < width && views[s]; ++i) rms[s] += double(u(s, i)) * u(s, i) / width;
      all += rms[s] = std::sqrt(rms[s]);
    }
    for (int64_t s = 0; s < 3; ++s) EXPECT_NEAR(alpha[s], rms[s] / all, 1e-6);
    EXPECT_NEAR(alpha[0] + alpha[1] + alpha[2], 1.0, 1e-6);
  }
}

TEST(SumFusion, OfZerosIsZero) {
  const std::vector<float> zeros(5);
  const float* views[2] = {zeros.data(), nullptr};
  float alpha[2], out[5];
  sum_row(views, 2, 5, alpha, out);
  for (const float v : out) EXPECT_EQ(v, 0.0f);
  for (const float a : alpha) EXPECT_EQ(a, 0.0f);
}

}  // namespace
}  // namespace axl
