#include "axl/nn/branches.h"

#include "axl/base/parallel.h"

namespace axl {
namespace {

const Branch& branch(const void* of, int64_t i) { return static_cast<const Branch*>(of)[i]; }

const PackedMatrix* coded(const Weight& w) { return w.packed.data(); }

PackedProduct query_product(const Branch& b) {
  return {.x = b.x, .gain = b.q_norm->gain.data, .w = {coded(b.attn->wq)}, .y = b.buffers.q};
}

PackedProduct key_product(const Branch& b) {
  return {.x = b.source,
          .gain = b.kv_norm->gain.data,
          .w = {coded(b.attn->wk), coded(b.attn->wv)},
          .y = b.buffers.kv};
}

PackedProduct input_product(const void* of, int64_t i) {
  const Branch& b = branch(of, i / 2);
  return i % 2 == 0 ? query_product(b) : key_product(b);
}

Attention::Job job_of(const Branch& b) {
  return {&b.plan, b.buffers.q, b.buffers.kv, b.cache, b.buffers.out, b.buffers.lse};
}
Attention::Job job(const void* of, int64_t i) { return job_of(branch(of, i)); }

// a, or in place x + a.
PackedProduct output_product(const void* of, int64_t i) {
  const Branch& b = branch(of, i);
  return {.x = b.buffers.out,
          .w = {coded(b.attn->wo)},
          .base = b.in_place ? b.x : ConstMat(),
          .y = b.buffers.a};
}

PackedProduct gate_up_product(const void* of, int64_t i) {
  const Branch& b = branch(of, i);
  return {.x = b.in_place ? b.buffers.a : b.x,
          .plus = b.in_place ? Mat() : b.buffers.a,
          .gain = b.ffn_norm->gain.data,
          .w = {coded(b.ffn->gate), coded(b.ffn->up)},
          .y = b.buffers.gate_up,
          .act = b.buffers.act};
}

PackedProduct down_product(const void* of, int64_t i) {
  const Branch& b = branch(of, i);
  return {.x = b.buffers.act,
          .w = {coded(b.ffn->down)},
          .base = b.in_place ? b.buffers.a : Mat(),
          .y = b.in_place ? b.y : b.buffers.ffn};
}

/// Whether a thread can take whole heads from x to attention's result: one loop less, and queries,
/// keys and values stay with their core. Were there more threads than heads, some would idle.
bool heads_divide_evenly(std::span<const Branch> branches) {
  int64_t bytes = 0;
  for (const Branch& b : branches)
    bytes += coded(b.attn->wq)->bytes() * (b.x.rows + 2 * b.source.rows);
  const Branch& b = branches.front();
  const int64_t heads = b.plan.heads, size = b.x.cols / heads;
  return heads % num_threads() == 0 && size % kPackedUnit == 0 &&
         bytes >= detail::kMinParallelBytes;
}

struct Pass {
  const Branch* branches;
  int64_t count;
  const Scratch* scratch;
  float eps;
};

void project_and_attend(const Pass& pass, const Branch& b, int64_t begin, int64_t end) {
  const int64_t size = b.x.cols / b.plan.heads;
  packed_gemm_rows(query_product(b), begin * size, end * size, pass.eps);
  packed_gemm_rows(key_product(b), begin * size, end * size, pass.eps);
  for (int64_t head = begin; head < end; ++head)
    for (size_t sequence = 0; sequence < b.cache.size(); ++sequence)
      Attention::attend_head(job_of(b), sequence, head, *pass.scratch);
}

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
  if (branches.empty()) return;
  const auto count = static_cast<int64_t>(branches.size());
  const Branch* all = branches.data();
  if (heads_divide_evenly(branches)) {
    const Pass pass{all, count, &scratch, eps};
    parallel_for_ranges(branches.front().plan.heads, [pass](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < pass.count; ++i)
        project_and_attend(pass, pass.branches[i], begin, end);
    });
  } else {
    packed_gemm({2 * count, all, input_product}, eps);
    Attention::attend_together(count, all, job, scratch);
  }
  packed_gemm({count, all, output_product}, eps);
  packed_gemm({count, all, gate_up_product}, eps);
  packed_gemm({count, all, down_product}, eps);
  for (const Branch& b : branches) {
    if (b.in_place) continue;
    add(b.buffers.a, b.y);
    add(b.buffers.ffn, b.y);
  }
}

}  // namespace axl
