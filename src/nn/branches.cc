#include "axl/nn/branches.h"

#include <algorithm>
#include <vector>

namespace axl {
namespace {

const Branch& branch(const void* of, int64_t i) { return static_cast<const Branch*>(of)[i]; }

const PackedMatrix* coded(const Weight& w) { return w.packed.data(); }

}  // namespace

BranchBuffers::BranchBuffers(Arena& arena, int64_t d, int64_t heads, int64_t d_ff)
    : q(arena.matrix(kFewRows, d)),
      kv(arena.matrix(kFewRows, 2 * d)),
      out(arena.matrix(kFewRows, d)),
      lse(arena.matrix(kFewRows, heads)),
      a(arena.matrix(kFewRows, d)),
      gate_up(arena.matrix(kFewRows, 2 * d_ff)),
      act(arena.matrix(kFewRows, d_ff)),
      ffn(arena.matrix(kFewRows, d)) {}

BranchBuffers BranchBuffers::first_rows(int64_t rows, int64_t source_rows) const {
  BranchBuffers b = *this;
  b.kv = kv.row_range(0, source_rows);
  for (Mat* m : {&b.q, &b.out, &b.lse, &b.a, &b.gate_up, &b.act, &b.ffn})
    *m = m->row_range(0, rows);
  return b;
}

namespace {

// a and the feed-forward part's result of each, loop by loop together.
void compute(std::span<const Branch> branches, float eps, const Scratch& scratch) {
  const auto count = static_cast<int64_t>(branches.size());
  const auto multiply = [&](int64_t products, auto at) {
    packed_gemm({products, branches.data(), at}, eps);
  };
  multiply(2 * count, [](const void* of, int64_t i) {
    const Branch& b = branch(of, i / 2);
    const Attention& attn = *b.attn;
    return i % 2 == 0 ? PackedProduct{.x = b.x,
                                      .gain = b.q_norm->gain.data,
                                      .w = {coded(attn.wq)},
                                      .y = b.buffers.q}
                      : PackedProduct{.x = b.source,
                                      .gain = b.kv_norm->gain.data,
                                      .w = {coded(attn.wk), coded(attn.wv)},
                                      .y = b.buffers.kv};
  });
  const auto attention = [](const void* of, int64_t i) {
    const Branch& b = branch(of, i);
    return Attention::Job{&b.plan, b.buffers.q,   b.buffers.kv,
                          b.cache, b.buffers.out, b.buffers.lse};
  };
  Attention::attend_together(count, branches.data(), attention, scratch);
  multiply(count, [](const void* of, int64_t i) {
    const Branch& b = branch(of, i);
    return PackedProduct{.x = b.buffers.out, .w = {coded(b.attn->wo)}, .y = b.buffers.a};
  });
  multiply(count, [](const void* of, int64_t i) {
    const Branch& b = branch(of, i);
    return PackedProduct{.x = b.x,
                         .plus = b.buffers.a,
                         .gain = b.ffn_norm->gain.data,
                         .w = {coded(b.ffn->gate), coded(b.ffn->up)},
                         .y = b.buffers.gate_up,
                         .act = b.buffers.act};
  });
  multiply(count, [](const void* of, int64_t i) {
    const Branch& b = branch(of, i);
    return PackedProduct{.x = b.buffers.act, .w = {coded(b.ffn->down)}, .y = b.buffers.ffn};
  });
}

constexpr int kLoops = 5;  // of compute()

void add_results(std::span<const Branch> branches) {
  for (const Branch& b : branches) {
    add(b.buffers.a, b.y);
    add(b.buffers.ffn, b.y);
  }
}

int64_t bytes(const Weight& w) { return w.packed[0].bytes(); }

// What one thread takes for a branch, about: weights come from a cache at 60 GB/s, and each further
// row costs what multiplying by it does.
double seconds_alone(const Branch& b) {
  const auto seconds = [](int64_t bytes, int64_t rows) {
    return rows == 0 ? 0 : static_cast<double>(bytes) * (1 / 60e9 + (rows - 1) / 250e9);
  };
  const Attention& attn = *b.attn;
  const SwiGlu& ffn = *b.ffn;
  return seconds(bytes(attn.wk) + bytes(attn.wv), b.source.rows) +
         seconds(
             bytes(attn.wq) + bytes(attn.wo) + bytes(ffn.gate) + bytes(ffn.up) + bytes(ffn.down),
             b.x.rows);
}

}  // namespace

void forward_together(std::span<const Branch> branches, float eps, const Scratch& scratch) {
  compute(branches, eps, scratch);
  add_results(branches);
}

void forward_apart(std::span<const Branch> branches, float eps, const Scratch& scratch) {
  std::vector<int64_t> homes;
  for (const Branch& b : branches) homes.push_back(b.home);
  for_each_branch_apart(homes, [&](int64_t i) { compute(branches.subspan(i, 1), eps, scratch); });
  add_results(branches);
}

bool are_faster_apart(std::span<const Branch> branches, int64_t layers) {
  const int threads = num_threads();
  if (threads == 1) return false;
  std::vector<double> busy(threads);
  double all = 0;
  for (const Branch& b : branches) {
    const double seconds = seconds_alone(b);
    busy[b.home % threads] += seconds;
    all += seconds;
  }
  // Beside the loop itself, what one thread leaves must come to the others: 1.9 µs in all where a
  // loop of nothing takes 0.7.
  const double exchange = 2.5 * loop_seconds();
  const double apart = layers * *std::max_element(busy.begin(), busy.end()) + exchange;
  return apart < layers * (all / threads + kLoops * exchange);
}

}  // namespace axl
