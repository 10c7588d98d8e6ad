// Layers side by side compute what the same layers compute one after another, bit for bit.

#include "axl/nn/branches.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "axl/kernels/attention.h"
#include "coded_testing.h"
#include "isa_testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(Branches);

constexpr int64_t kD = 128, kHeads = 4, kF = 176, kCapacity = 32;
constexpr float kEps = 1e-5f;

/// The parameters of a Block or CrossBlock, coded.
struct Parameters {
  std::vector<std::unique_ptr<Coded>> matrices;
  Matrix first_gain, second_gain, ffn_gain;
  Attention attn;
  SwiGlu ffn;

  Parameters(ElementType type, uint64_t seed)
      : first_gain(random_matrix(1, kD, seed)),
        second_gain(random_matrix(1, kD, seed + 1)),
        ffn_gain(random_matrix(1, kD, seed + 2)) {
    const auto coded = [&](Weight& w, int64_t rows, int64_t cols) {
      matrices.push_back(std::make_unique<Coded>(type, rows, cols, seed + 3 + matrices.size()));
      w = Mat(nullptr, rows, cols);
      w.packed[0] = matrices.back()->matrix;
    };
    for (Weight* w : {&attn.wq, &attn.wk, &attn.wv, &attn.wo}) coded(*w, kD, kD);
    for (Weight* w : {&ffn.gate, &ffn.up}) coded(*w, kF, kD);
    coded(ffn.down, kD, kF);
  }
};

/// Memory for whatever a forward pass needs.
struct Memory {
  Buffer buffer = Buffer(8 << 20);
  Arena arena = Arena(buffer.data(), buffer.bytes());
  Scratch scratch;
  Memory() {
    for (Mat* m : {&scratch.normed, &scratch.d_normed, &scratch.d_branch})
      *m = arena.matrix(kFewRows, kD);
    scratch.act = arena.matrix(kFewRows, kF);
    scratch.attention = arena.matrix(max_threads(), attention_scratch(kCapacity, kD));
  }
};

/// Caches of keys and values that have seen some tokens, the same for each of these: in 8 bits, as
/// coded weights have them.
struct Caches {
  struct Rows {
    std::vector<int8_t> codes;
    std::vector<float> scales;
    bool operator==(const Rows&) const = default;
  };
  std::vector<Rows> rows;
  std::vector<KeyValues> views;

  explicit Caches(int64_t sequences) : rows(sequences) {
    for (int64_t i = 0; i < sequences; ++i) {
      const Matrix m = random_matrix(2 * kHeads * kCapacity, kD / kHeads, 900 + i);
      rows[i] = {std::vector<int8_t>(m.values.size()), std::vector<float>(m.rows)};
      views.push_back(
          {.f32 = {}, .i8 = {{rows[i].codes.data(), m.rows, m.cols}, rows[i].scales.data()}});
      copy(ConstMat(m.values.data(), m.rows, m.cols), views[i].i8);
    }
  }
};

/// Two stacks' blocks and a pair of scales, with a token or two of each of three sequences.
class Passes {
 public:
  explicit Passes(ElementType type) : one_(type, 10), other_(type, 30), pair_(type, 50) {
    fill_rope_table(10000, rope_);
  }

  struct Everything {
    std::vector<Matrix> results;
    std::vector<Caches::Rows> caches;
  };

  Everything apart() {
    begin();
    Matrix &a = results_[0], &b = results_[1], &c = results_[2];
    forward_block(one_, fine_, 1, a, caches_[0]);
    forward_block(other_, coarse_, 2, b, caches_[1]);
    Memory m;
    const CrossBlock cross{{pair_.first_gain.view()},
                           {pair_.second_gain.view()},
                           pair_.attn,
                           {pair_.ffn_gain.view()},
                           pair_.ffn};
    CrossBlock::Saved saved(m.arena, x_.rows, y_.rows, kD, kHeads, kF);
    saved.x = x_.view(), saved.source = y_.view();
    cross.forward(pair_plan(), kEps, saved, c.view(), caches_[2].views, m.scratch);
    return everything();
  }

  /// By forward_together() or forward_apart().
  Everything side_by_side(decltype(&forward_together) forward) {
    begin();
    Matrix &a = results_[0], &b = results_[1], &c = results_[2];
    Memory m;
    const RmsNorm one_norm{one_.first_gain.view()}, one_ffn{one_.ffn_gain.view()};
    const RmsNorm other_norm{other_.first_gain.view()}, other_ffn{other_.ffn_gain.view()};
    const RmsNorm q_norm{pair_.first_gain.view()}, kv_norm{pair_.second_gain.view()},
        pair_ffn{pair_.ffn_gain.view()};
    const auto buffers = [&](int64_t rows, int64_t source_rows) {
      return BranchBuffers(m.arena, kD, kHeads, kF).first_rows(rows, source_rows);
    };
    const Branch all[] = {
        {&one_norm, &one_norm, &one_.attn, &one_ffn, &one_.ffn, plan(fine_, 1), a.view(), a.view(),
         caches_[0].views, buffers(a.rows, a.rows), a.view(), 0},
        {&other_norm, &other_norm, &other_.attn, &other_ffn, &other_.ffn, plan(coarse_, 2),
         b.view(), b.view(), caches_[1].views, buffers(b.rows, b.rows), b.view(), 1},
        {&q_norm, &kv_norm, &pair_.attn, &pair_ffn, &pair_.ffn, pair_plan(), x_.view(), y_.view(),
         caches_[2].views, buffers(x_.rows, y_.rows), c.view(), 2}};
    forward(std::span<const Branch>(all), kEps, m.scratch);
    return everything();
  }

 private:
  AttentionPlan plan(const Segments& tokens, int64_t factor) {
    return {kHeads, &rope_, &tokens, &tokens, factor, factor, false, 0};
  }
  AttentionPlan pair_plan() { return {kHeads, &rope_, &fine_, &coarse_, 1, 2, true, 0}; }

  void begin() {
    x_ = random_matrix(4, kD, 1), y_ = random_matrix(2, kD, 2);
    results_ = {x_, y_, random_matrix(4, kD, 3)};
    caches_.clear();
    for (int i = 0; i < 3; ++i) caches_.emplace_back(3);
  }

  Everything everything() {
    Everything all{results_, {}};
    for (const Caches& c : caches_)
      all.caches.insert(all.caches.end(), c.rows.begin(), c.rows.end());
    return all;
  }

  void forward_block(Parameters& p, const Segments& tokens, int64_t factor, Matrix& x,
                     const Caches& caches) {
    Memory m;
    const Block block{{p.first_gain.view()}, p.attn, {p.ffn_gain.view()}, p.ffn};
    Block::Saved saved(m.arena, x.rows, kD, kHeads, kF);
    saved.x = x.view();
    block.forward(plan(tokens, factor), kEps, saved, x.view(), caches.views, m.scratch);
  }

  Parameters one_, other_, pair_;
  Matrix cos_{2 * kCapacity, kD / kHeads / 2}, sin_{2 * kCapacity, kD / kHeads / 2};
  RopeTable rope_{cos_.view(), sin_.view()};
  const Segments fine_ = {{0, 13, 1}, {1, 4, 2}, {3, 20, 1}};
  const Segments coarse_ = {{0, 6, 1}, {1, 2, 1}, {2, 10, 0}};
  Matrix x_{0, 0}, y_{0, 0};
  std::vector<Matrix> results_;
  std::vector<Caches> caches_;
};

void expect_same(const Passes::Everything& a, const Passes::Everything& b) {
  for (size_t i = 0; i < a.results.size(); ++i)
    EXPECT_EQ(0, std::memcmp(a.results[i].values.data(), b.results[i].values.data(),
                             sizeof(float) * a.results[i].values.size()))
        << i;
  EXPECT_EQ(a.caches, b.caches);
}

TEST_P(Branches, ComputeWhatLayersComputeOneAfterAnother) {
  for (ElementType type : {ElementType::kQ8_0, ElementType::kQ4_K, ElementType::kBF16}) {
    SCOPED_TRACE(element_format(type).name);
    Passes passes(type);
    const Passes::Everything expected = passes.apart();
    for (int threads : {1, 2, 3}) {
      const Threads scope(threads);
      expect_same(passes.side_by_side(forward_together), expected);
      expect_same(passes.side_by_side(forward_apart), expected);
    }
  }
}

TEST(BranchesApart, EachRunsOnceOnOneThreadWithThoseOfItsHome) {
  const int64_t homes[] = {0, 1, 5, 2, 1};
  for (int threads : {1, 2, 3, 8}) {
    const Threads scope(threads);
    for (int repeat = 0; repeat < 100; ++repeat) {
      std::vector<int> times(5), thread(5);
      for_each_branch_apart(homes, [&](int64_t i) {
        ++times[i];
        thread[i] = thread_index();
        EXPECT_EQ(num_threads(), 1);
      });
      EXPECT_EQ(times, std::vector<int>(5, 1)) << threads;
      EXPECT_EQ(thread[1], thread[4]) << threads;
    }
  }
}

}  // namespace
}  // namespace axl
