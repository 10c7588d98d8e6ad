// Layers that follow each other block of rows by block give what they give one after the other.
// Skipped where the CPU has no AVX512_BF16.

#include <gtest/gtest.h>

#include "axl/kernels/bf16_operand.h"
#include "axl/nn/layers.h"
#include "testing.h"

namespace axl {
namespace {

constexpr Precision kBf16 = Precision::kBf16;

class Bf16Operands : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_bf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  }
  void TearDown() override { set_num_threads(threads_); }
  int threads_ = num_threads();
};

TEST_F(Bf16Operands, RowBlocksCoverEveryRowOnce) {
  for (int threads : {1, 2, 3, 6}) {
    set_num_threads(threads);
    for (int64_t rows : {1, 11, 12, 13, 97, 1000, 4096}) {
      std::vector<int> seen(rows, 0);
      for_bf16_row_blocks(rows, [&](int64_t begin, int64_t count) {
        EXPECT_EQ(begin % 12, 0);
        EXPECT_LE(count, 96);
        for (int64_t r = begin; r < begin + count; ++r) ++seen[r];
      });
      EXPECT_EQ(seen, std::vector<int>(rows, 1)) << rows << " rows, " << threads << " threads";
    }
  }
}

TEST_F(Bf16Operands, MultiplyAsGemmDoes) {
  Buffer room;
  for (Trans tb : {Trans::kNo, Trans::kYes}) {
    const int64_t m = 205, n = 77, k = 801;
    Matrix a = random_matrix(m, k, 1);
    Matrix b = tb == Trans::kNo ? random_matrix(k, n, 2) : random_matrix(n, k, 2);
    for (Write write : {Write::kAssign, Write::kAdd}) {
      Matrix expected = random_matrix(m, n, 3), c = expected;
      gemm(Trans::kNo, a.view(), tb, b.view(), expected.view(), write, 1.0f, kBf16);
      Bf16Operand(tb, b.view(), room).multiply(a.view(), c.view(), write);
      EXPECT_EQ(c.values, expected.values);
    }
  }
}

TEST_F(Bf16Operands, FeedForwardByBlocksIsThatOfWholeProducts) {
  const int64_t rows = 301, d = 48, f = 104;
  Matrix x = random_matrix(rows, d, 1), dy = random_matrix(rows, d, 2);
  Matrix in = random_matrix(2 * f, d, 3), down = random_matrix(d, f, 4);
  const SwiGlu layer{in.view().row_range(0, f), in.view().row_range(f, f), down.view()};

  // One product after the other.
  Matrix gate_up(rows, 2 * f), act(rows, f), y = random_matrix(rows, d, 5);
  const Matrix y_before = y;
  gemm(Trans::kNo, x.view(), Trans::kYes, in.view(), gate_up.view(), Write::kAssign, 1.0f, kBf16);
  swiglu(gate_up.view(), act.view());
  gemm(Trans::kNo, act.view(), Trans::kYes, down.view(), y.view(), Write::kAdd, 1.0f, kBf16);
  Matrix d_act(rows, f), d_gate_up(rows, 2 * f), dx(rows, d);
  gemm(Trans::kNo, dy.view(), Trans::kNo, down.view(), d_act.view(), Write::kAssign, 1.0f, kBf16);
  swiglu_backward(gate_up.view(), d_act.view(), d_gate_up.view());
  gemm(Trans::kNo, d_gate_up.view(), Trans::kNo, in.view(), dx.view(), Write::kAssign, 1.0f, kBf16);

  for (int threads : {1, 2, 6}) {
    set_num_threads(threads);
    Matrix scratch_act(rows, f), scratch_d(rows, 2 * f), got_gate_up(rows, 2 * f), got_y = y_before;
    Matrix got_dx(rows, d), d_in(2 * f, d), d_down(d, f);
    Scratch scratch;
    scratch.precision = kBf16;
    scratch.act = scratch_act.view();
    scratch.d_gate_up = scratch_d.view();
    layer.forward(x.view(), got_y.view(), got_gate_up.view(), scratch);
    const SwiGlu grad{d_in.view().row_range(0, f), d_in.view().row_range(f, f), d_down.view()};
    layer.backward(x.view(), got_gate_up.view(), dy.view(), got_dx.view(), grad, scratch);
    EXPECT_EQ(got_gate_up.values, gate_up.values);
    EXPECT_EQ(got_y.values, y.values);
    EXPECT_EQ(got_dx.values, dx.values);
    EXPECT_EQ(scratch_act.values, d_act.values);
  }
}

}  // namespace
}  // namespace axl
