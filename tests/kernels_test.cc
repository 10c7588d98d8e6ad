// Element-wise kernels against plain loops in double, with each instruction set.
#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/fusion.h"
#include "isa_testing.h"
#include "testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(Exponential);
AXL_EACH_ISA(CrossEntropy);
AXL_EACH_ISA(RmsNorm);
AXL_EACH_ISA(SwiGlu);
AXL_EACH_ISA(SumOfSquares);
AXL_EACH_ISA(Rope);
AXL_EACH_ISA(Rows);
AXL_EACH_ISA(Fusion);
AXL_EACH_ISA(SumFusion);

// ---- Exponential and cross-entropy --------------------------------------------------------------

TEST_P(Exponential, IsWithinItsErrorBoundAndClampsOutside) {
  std::vector<float> x, y;
  for (double v = -87; v <= 88; v += 1.7e-4) x.push_back(static_cast<float>(v));
  y = x;
  row_kernels().scaled_exp(y.data(), 0.0f, 1.0f, y.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(y[i] / std::exp(double(x[i])) - 1));
  EXPECT_LT(worst, 3e-7);
  // As often as fills every lane.
  for (int n : {1, 16, 35}) {
    const auto exponential = [&](float v) {
      std::vector<float> values(n, v);
      row_kernels().scaled_exp(values.data(), 0.0f, 1.0f, n);
      for (const float result : values) EXPECT_EQ(result, values[0]);
      return values[0];
    };
    EXPECT_EQ(exponential(0.0f), 1.0f);
    EXPECT_EQ(exponential(-INFINITY), exponential(-87.0f));
    EXPECT_EQ(exponential(INFINITY), exponential(88.0f));
  }
}

TEST_P(CrossEntropy, MatchesDoubleAndSkipsWhatIsNotScored) {
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

TEST_P(CrossEntropy, StaysFiniteForExtremeLogitsAndTellsOfNaN) {
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

TEST_P(RmsNorm, MatchesDoubleAtOddWidthsAndInPlace) {
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

TEST_P(RmsNorm, OfZerosIsZero) {
  Matrix x(2, 9), gain = random_matrix(1, 9, 1), y = random_matrix(2, 9, 2);
  std::vector<float> rstd(2);
  rms_norm(x.view(), gain.view(), 1e-5f, y.view(), rstd.data());
  for (const float v : y.values) EXPECT_EQ(v, 0.0f);
}

TEST_P(SwiGlu, MatchesDoubleAtOddWidths) {
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

// A subnormal number takes some CPUs 150 cycles, also one that is thrown away: a compiler may
// compute what a limit would give beside what is asked for.
TEST_P(SwiGlu, MakesNoSubnormalNumbers) {
  std::vector<float> gate;
  for (float g = -200; g <= 200; g += 0.37f) gate.push_back(g);
  const size_t n = gate.size();
  const std::vector<float> up(n, 0.25f);
  std::vector<float> act(n), d(n, 0.5f), d_gate(n), d_up(n);
  std::feclearexcept(FE_UNDERFLOW);
  row_kernels().swiglu(gate.data(), up.data(), act.data(), n);
  EXPECT_FALSE(std::fetestexcept(FE_UNDERFLOW)) << "forward";
  row_kernels().swiglu_backward(gate.data(), up.data(), d.data(), d_gate.data(), d_up.data(), n);
  EXPECT_FALSE(std::fetestexcept(FE_UNDERFLOW)) << "backward";
  EXPECT_EQ(d, act);
  for (const auto* result : {&act, &d_gate, &d_up})
    for (const float x : *result) EXPECT_TRUE(x == 0 || std::isnormal(x)) << x;
}

TEST_P(SumOfSquares, IsExactEnoughAndIndependentOfTheThreads) {
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

TEST_P(SumOfSquares, DoesNotOverflowAFloatsRange) {
  const std::vector<float> x(100, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_of_squares(x.data(), 100)));
}

TEST_P(Rope, TurnsBackAndKeepsLengths) {
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

// Row 0 is of all magnitudes, row 1 has them but for its largest element, row 2 is zeros.
TEST_P(Rows, BytesAreTheNearestOfTheirScale) {
  Matrix x(3, 200);
  Rng rng(1);
  for (int64_t i = 0; i < 200; ++i) {
    x(0, i) = static_cast<float>(rng.normal() * std::exp2(double(rng.below(40)) - 20));
    x(1, i) = static_cast<float>(rng.normal());
  }
  x(1, 0) = -1e30f;
  for (int64_t n : {1, 7, 8, 16, 31, 200}) {
    std::vector<int8_t> codes(3 * (n + 1), 77);
    std::vector<float> scales(3);
    copy(x.view().col_range(0, n), ScaledMat({codes.data(), 3, n, n + 1}, scales.data()));
    for (int64_t r = 0; r < 3; ++r) {
      double top = 0;
      for (int64_t i = 0; i < n; ++i) top = std::max(top, std::abs(double(x(r, i))));
      EXPECT_FLOAT_EQ(scales[r], static_cast<float>(top / 127));
      for (int64_t i = 0; i < n; ++i)
        EXPECT_NEAR(double(scales[r]) * codes[r * (n + 1) + i], x(r, i), 0.5001 * top / 127);
      EXPECT_EQ(codes[r * (n + 1) + n], 77) << "behind the row";
    }
  }
}

TEST_P(Rows, BytesOfWhatIsNotFiniteAreNaN) {
  for (const float bad : {INFINITY, -INFINITY, NAN})
    for (const int64_t place : {0, 5, 17}) {
      Matrix x(1, 18);
      x(0, place) = bad;
      std::vector<int8_t> codes(18);
      float scale = 0;
      copy(x.view(), ScaledMat({codes.data(), 1, 18}, &scale));
      EXPECT_TRUE(std::isnan(scale)) << bad << " " << place;
    }
}

TEST_P(Rows, ScatterIsTheTransposeOfGather) {
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

TEST_P(Fusion, MatchesDoubleAlsoWhereScalesAreMissing) {
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

TEST_P(SumFusion, IsTheSumOfTheViewsThereAre) {
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

TEST_P(SumFusion, OfZerosIsZero) {
  const std::vector<float> zeros(5);
  const float* views[2] = {zeros.data(), nullptr};
  float alpha[2], out[5];
  sum_row(views, 2, 5, alpha, out);
  for (const float v : out) EXPECT_EQ(v, 0.0f);
  for (const float a : alpha) EXPECT_EQ(a, 0.0f);
}

}  // namespace
}  // namespace axl
