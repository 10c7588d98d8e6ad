#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "isa_testing.h"
#include "testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(BlockKernelsTest);

struct Case {
  int64_t m, n, k;
  bool transposed, add;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.m << "x" << c.n << "x" << c.k << (c.transposed ? ", A transposed" : "")
             << (c.add ? ", added" : "");
}

constexpr int64_t kPad = 3;

// Rows of padded matrices; what lies between them must stay.
Matrix padded(int64_t rows, int64_t cols, uint64_t seed) {
  return random_matrix(rows, cols + kPad, seed);
}

void check(const BlockKernels& kernels, const Case& of) {
  const Matrix a = of.transposed ? padded(of.k, of.m, 1) : padded(of.m, of.k, 1);
  const Matrix b = padded(of.k, of.n, 2);
  Matrix c = padded(of.m, of.n, 3);
  const Matrix before = c;
  const auto at = [](const Matrix& x, int64_t i, int64_t j) { return x.values[i * x.cols + j]; };
  kernels.multiply({a.data(), of.transposed ? 1 : a.cols, of.transposed ? a.cols : 1, b.data(),
                    b.cols, c.data(), c.cols, of.m, of.n, of.k, -0.5f, of.add});
  for (int64_t i = 0; i < of.m; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      double expected = at(before, i, j);
      if (j < of.n) {
        double sum = 0;
        for (int64_t t = 0; t < of.k; ++t)
          sum += double(of.transposed ? at(a, t, i) : at(a, i, t)) * at(b, t, j);
        expected = (of.add ? expected : 0.0) - 0.5 * sum;
      }
      ASSERT_NEAR(at(c, i, j), expected, 1e-6 * (8 + of.k)) << of << " at " << i << ", " << j;
    }
  }
}

TEST_P(BlockKernelsTest, MultiplyMatchesDouble) {
  for (const int64_t m : {1, 2, 3, 5, 6, 11, 12, 13, 23, 64})
    for (const int64_t n : {1, 7, 8, 15, 16, 17, 32, 33, 56, 64, 101})
      for (const int64_t k : {0, 1, 5, 64, 256, 257, 600})
        for (const bool transposed : {false, true})
          for (const bool add : {false, true})
            check(*GetParam()->blocks, {m, n, k, transposed, add});
}

TEST_P(BlockKernelsTest, TransposesAnyShape) {
  for (const int64_t rows : {0, 1, 7, 8, 16, 17, 40}) {
    for (const int64_t cols : {0, 1, 8, 15, 16, 33}) {
      const Matrix x = padded(rows, cols, 1);
      Matrix y = padded(cols, rows, 2);
      const Matrix before = y;
      GetParam()->blocks->transpose(x.data(), x.cols, rows, cols, y.data(), y.cols);
      for (int64_t j = 0; j < cols; ++j)
        for (int64_t i = 0; i < y.cols; ++i)
          ASSERT_EQ(y.values[j * y.cols + i],
                    i < rows ? x.values[i * x.cols + j] : before.values[j * y.cols + i])
              << rows << "x" << cols << " at " << j << ", " << i;
    }
  }
}

}  // namespace
}  // namespace axl
