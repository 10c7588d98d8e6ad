// Which instruction set the kernels run on, and that they do.
#include "axl/kernels/isa.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <set>

#include "axl/kernels/attention.h"
#include "axl/kernels/elementwise.h"
#include "axl/kernels/fusion.h"
#include "axl/kernels/gemm.h"
#include "isa_testing.h"
#include "temp_dir.h"
#include "testing.h"

namespace axl {
namespace {

using Tables = std::vector<const RowKernels*>;
const Tables kBoth = {&kAvx512RowKernels, &kAvx2RowKernels};
const Tables kAvx2Alone = {&kAvx2RowKernels};

TEST(Isa, TheBestIsChosenUnlessOneIsNamed) {
  for (const char* none : {static_cast<const char*>(nullptr), ""}) {
    EXPECT_EQ(&choose_row_kernels(none, kBoth), &kAvx512RowKernels);
    EXPECT_EQ(&choose_row_kernels(none, kAvx2Alone), &kAvx2RowKernels);
  }
  EXPECT_EQ(&choose_row_kernels("avx512", kBoth), &kAvx512RowKernels);
  EXPECT_EQ(&choose_row_kernels("avx2", kBoth), &kAvx2RowKernels);
  EXPECT_EQ(&choose_row_kernels("avx2", kAvx2Alone), &kAvx2RowKernels);
}

TEST(Isa, RefusesWhatIsUnknownOrLacking) {
  const auto choosing = [](const char* wanted, const Tables& runnable) {
    return message_of<UsageError>([&] { choose_row_kernels(wanted, runnable); });
  };
  EXPECT_EQ(choosing("avx", kBoth),
            "AXL_ISA is 'avx', but it must be one of avx512, avx2; did you mean 'avx2'?");
  EXPECT_EQ(choosing("AVX2 ", kAvx2Alone),
            "AXL_ISA is 'AVX2 ', but it must be one of avx512, avx2");
  EXPECT_EQ(choosing("avx512", kAvx2Alone),
            "AXL_ISA is 'avx512', which this CPU lacks; unset it, or set it to avx2");
  EXPECT_HOLDS(message_of<Error>([&] { choose_row_kernels(nullptr, {}); }), "no AVX2");
}

// The names come from the compiler's own macros where the loops are; integration/isa_test.sh looks
// at the instructions.
TEST(Isa, EveryTableHasLoopsOfItsOwn) {
  EXPECT_STREQ(kAvx2RowKernels.isa, "avx2");
  EXPECT_STREQ(kAvx512RowKernels.isa, "avx512");
  std::set<const void*> loops;
  for (const RowKernels* k : kBoth) {
    const void* functions[(sizeof(RowKernels) - sizeof k->isa) / sizeof(void*)];
    std::memcpy(functions, &k->blocks, sizeof functions);
    for (const void* f : functions) EXPECT_TRUE(f && loops.insert(f).second) << k->isa;
    const void* of_blocks[sizeof(BlockKernels) / sizeof(void*)];
    std::memcpy(of_blocks, k->blocks, sizeof of_blocks);
    for (const void* f : of_blocks) EXPECT_TRUE(f && loops.insert(f).second) << k->isa;
  }
}

TEST(Isa, ThisCpuRunsAvx2AndWhatIsChosenIsRunnable) {
  const Tables runnable = runnable_row_kernels();
  EXPECT_EQ(runnable.back(), &kAvx2RowKernels);
  EXPECT_EQ(std::count(runnable.begin(), runnable.end(), &row_kernels()), 1);
  EXPECT_STREQ(kernel_isa(), row_kernels().isa);
}

/// Calls of each function, counted on their way to the loops of AVX2.
std::atomic<int> calls;
template <const auto& kTable, auto Function, class R, class... Args>
R counted(Args... args) {
  ++calls;
  return (kTable.*Function)(args...);
}
template <const auto& kTable, auto Function, class Table, class R, class... Args>
void count(Table& table, R (*Table::*)(Args...)) {
  table.*Function = counted<kTable, Function, R, Args...>;
}
#define COUNTED(name) count<kAvx2RowKernels, &RowKernels::name>(kernels, &RowKernels::name)

TEST(Isa, KernelsRunTheLoopsThatWereChosen) {
  const RowKernels& before = row_kernels();
  RowKernels kernels = kAvx2RowKernels;
  Matrix x = random_matrix(4, 8, 1), y = random_matrix(4, 8, 2), z = random_matrix(4, 16, 3);
  Matrix gain = random_matrix(1, 8, 4), sums = random_matrix(1, 8, 5), partials(kPartials, 8);
  std::vector<float> floats(attention_scratch(64, 8));
  const std::vector<int32_t> ids(4, 1);
  const RopeTable angles{x.view().col_range(0, 4), y.view().col_range(0, 4)};
  const float* views[] = {x.view().row(0)};
  float* d_views[] = {y.view().row(0)};
  float alpha = 1, rstd = 1;
  const auto expect_called = [&](const char* name, const auto& body) {
    calls = 0;
    body();
    EXPECT_GT(calls, 0) << name;
    kernels = kAvx2RowKernels;
  };
#define EXPECT_RUNS(name, ...) \
  COUNTED(name);               \
  expect_called(#name, [&] { __VA_ARGS__; })

  use_row_kernels(kernels);
  EXPECT_RUNS(add, add(x.view(), y.view()));
  EXPECT_RUNS(add, gather_add_rows(x.view(), ids, y.view()));
  EXPECT_RUNS(add, scatter_add_rows(x.view(), ids, y.view()));
  EXPECT_RUNS(sum_of_squares, sum_of_squares(x.values.data(), 32));
  EXPECT_RUNS(rms_norm, rms_norm(x.view(), gain.view(), 1e-5f, y.view(), floats.data()));
  EXPECT_RUNS(rms_norm_again, rms_norm_again(x.view(), gain.view(), floats.data(), y.view()));
  EXPECT_RUNS(rms_norm_backward, rms_norm_backward(x.view(), gain.view(), floats.data(), x.view(),
                                                   y.view(), sums.view(), partials.view()));
  EXPECT_RUNS(swiglu, swiglu(z.view(), y.view()));
  EXPECT_RUNS(swiglu_backward, swiglu_backward(z.view(), x.view(), random_matrix(4, 16, 1).view()));
  EXPECT_RUNS(rope, rope(random_matrix(4, 8, 1).view(), angles, 0, 1, false));
  EXPECT_RUNS(log_sum_exp, cross_entropy(x.view(), ids, floats.data()));
  EXPECT_RUNS(scaled_exp, cross_entropy_backward(y.view(), ids, 1.0f, floats.data()));
  EXPECT_RUNS(dot, fuse_row(views, 1, gain.view(), 1e-5f, &alpha, &rstd, floats.data()));
  EXPECT_RUNS(add_scaled, fuse_row(views, 1, gain.view(), 1e-5f, &alpha, &rstd, floats.data()));
  EXPECT_RUNS(unit_rms_backward, fuse_row_backward(views, 1, gain.view(), &alpha, &rstd,
                                                   x.view().row(1), d_views, sums.view()));
  const AttentionHeads heads{.heads = 1};
  Matrix lse(4, 1), dq(4, 8), dk(4, 8), dv(4, 8);
  // Attention of training goes by a table of its own, which comes with the other.
#define EXPECT_BLOCKS_RUN(name, ...)                                            \
  {                                                                             \
    BlockKernels blocks = kAvx2BlockKernels;                                    \
    count<kAvx2BlockKernels, &BlockKernels::name>(blocks, &BlockKernels::name); \
    kernels.blocks = &blocks;                                                   \
    expect_called(#name, [&] { __VA_ARGS__; });                                 \
  }

  const auto forward = [&] {
    attention_head(heads, 0, 0, x.view(), x.view(), x.view(), y.view(), lse.view(), floats.data());
  };
  EXPECT_BLOCKS_RUN(multiply, forward())
  EXPECT_BLOCKS_RUN(transpose, forward())
  EXPECT_BLOCKS_RUN(softmax_columns, forward())
  EXPECT_BLOCKS_RUN(
      softmax_columns_backward,
      attention_head_backward(heads, 0, x.view(), x.view(), x.view(), lse.view(), y.view(),
                              dq.view(), dk.view(), dv.view(), floats.data()))
  EXPECT_EQ(kAvx2RowKernels.blocks, &kAvx2BlockKernels);
  EXPECT_EQ(kAvx512RowKernels.blocks, &kAvx512BlockKernels);
  const auto continue_from = [&](auto keys) {
    continue_attention_head({.heads = 1, .query_begin = 3}, 0, 0, x.view().row_range(0, 1), keys,
                            keys, y.view(), lse.view(), floats.data());
  };
  EXPECT_RUNS(softmax, continue_from(x.view()));
  EXPECT_RUNS(dots, continue_from(x.view()));
  EXPECT_RUNS(weighted_sums, continue_from(x.view()));
  std::vector<int8_t> codes(32);
  std::vector<float> scales(4);
  const ScaledMat bytes({codes.data(), 4, 8}, scales.data());
  EXPECT_RUNS(to_bytes, copy(x.view(), bytes));
  EXPECT_RUNS(byte_dots, continue_from(bytes));
  EXPECT_RUNS(multiply, continue_from(bytes));
  EXPECT_RUNS(weighted_byte_sums, continue_from(bytes));
  use_row_kernels(before);
}

TEST(Isa, Avx2HidesBf16) {
  const RowKernels& before = row_kernels();
  use_row_kernels(kAvx2RowKernels);
  EXPECT_FALSE(has_bf16());
  use_row_kernels(before);
}

}  // namespace
}  // namespace axl
