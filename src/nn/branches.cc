#include "axl/nn/branches.h"

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

void forward_together(std::span<const Branch> branches, float eps, const Scratch& scratch) {
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
  for (const Branch& b : branches) {
    add(b.buffers.a, b.y);
    add(b.buffers.ffn, b.y);
  }
}

}  // namespace axl
