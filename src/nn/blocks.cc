#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/kernels/bf16_operand.h"
#include "axl/nn/layers.h"

namespace axl {

namespace {

// Fewer rows are not worth packing the weights first.
constexpr int64_t kMinChainedRows = 192;

/// Whether a feed-forward part runs block of rows by block, all its products after each other:
/// what one leaves is in the core's cache for the next. f32 gains nothing from it, as its products
/// pack their weights for each block anew.
bool chained(const Scratch& scratch, int64_t rows) {
  return scratch.precision == Precision::kBf16 && rows >= kMinChainedRows;
}

/// Packed weights, kept from layer to layer.
struct Rooms {
  Buffer in, out;
};
Rooms& rooms() {
  thread_local Rooms rooms;
  return rooms;
}

/// The rows of a pass as threads divide them: tiles that pass through several steps each, so that
/// what one step leaves is in the core's cache for the next; or all rows in one, where every step
/// divides them in its own way. Products with block-coded weights give a row the same bits whatever
/// rows come with it.
class RowTiles {
 public:
  RowTiles(const Weight& w, int64_t rows) : rows_(rows), tile_rows_(std::max<int64_t>(1, rows)) {
    if (!w.is_block_coded() || rows < detail::kManyRows) return;
    constexpr int64_t kLeast = 8, kMost = 32;  // what products like best, what L2 holds
    const int64_t tiles = rounded_up(rows, kMost * num_threads()) / kMost;
    tile_rows_ = rounded_up((rows + tiles - 1) / tiles, kLeast);
  }

  /// body(begin, count) for each, on the thread that had it the last time. Early and late ones
  /// alternate: a later query reads more keys.
  template <class Body>
  void for_each(const Body& body) const {
    const int64_t count = (rows_ + tile_rows_ - 1) / tile_rows_;
    if (count <= 1) return body(int64_t{0}, rows_);
    parallel_for(count, [&](int64_t i) {
      const int64_t begin = (i % 2 == 0 ? i / 2 : count - 1 - i / 2) * tile_rows_;
      body(begin, std::min(tile_rows_, rows_ - begin));
    });
  }

  /// attend(begin, count) before body(begin, count). With a cache, a tile's queries do without the
  /// others: each has the same result whichever come with it.
  template <class Attend, class Body>
  void for_each(std::span<const KeyValues> cache, const Attend& attend, const Body& body) const {
    const bool by_tiles = tile_rows_ < rows_ && !cache.empty();
    if (!by_tiles) attend(int64_t{0}, rows_);
    for_each([&](int64_t begin, int64_t count) {
      if (by_tiles) attend(begin, count);
      body(begin, count);
    });
  }

 private:
  static int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

  int64_t rows_, tile_rows_;
};

}  // namespace

Scratch Scratch::row_range(int64_t begin, int64_t count) const {
  Scratch s = *this;
  for (Mat* m : {&s.normed, &s.d_normed, &s.d_branch, &s.act})
    if (!m->empty()) *m = m->row_range(begin, count);
  return s;
}

void SwiGlu::forward(ConstMat x, Mat y, Mat gate_up_out, const Scratch& scratch) const {
  const Mat act = scratch.act.row_range(0, x.rows);
  if (chained(scratch, x.rows)) {
    const Bf16Operand in(Trans::kYes, gate_up().weight, rooms().in);
    const Bf16Operand out(Trans::kYes, down, rooms().out);
    return for_bf16_row_blocks(x.rows, [&](int64_t begin, int64_t count) {
      in.multiply(x.row_range(begin, count), gate_up_out.row_range(begin, count), Write::kAssign);
      swiglu(gate_up_out.row_range(begin, count), act.row_range(begin, count));
      out.multiply(act.row_range(begin, count), y.row_range(begin, count), Write::kAdd);
    });
  }
  gate_up().forward(x, gate_up_out, scratch.precision);
  swiglu(gate_up_out, act);
  Linear{down}.forward(act, y, scratch.precision, Write::kAdd);
}

void SwiGlu::backward(ConstMat x, ConstMat gate_up_in, ConstMat dy, Mat dx, const SwiGlu& grad,
                      const Scratch& scratch) const {
  const Mat act = scratch.act.row_range(0, x.rows);  // its gradient first
  const Mat d_gate_up = scratch.d_gate_up.row_range(0, x.rows);
  if (chained(scratch, x.rows)) {
    const Bf16Operand out(Trans::kNo, down, rooms().out);
    const Bf16Operand in(Trans::kNo, gate_up().weight, rooms().in);
    for_bf16_row_blocks(x.rows, [&](int64_t begin, int64_t count) {
      const Mat a = act.row_range(begin, count), d = d_gate_up.row_range(begin, count);
      out.multiply(dy.row_range(begin, count), a, Write::kAssign);
      swiglu_backward(gate_up_in.row_range(begin, count), a, d);
      in.multiply(d, dx.row_range(begin, count), Write::kAssign);
    });
  } else {
    Linear{down}.input_gradient(dy, act, Write::kAssign, scratch.precision);
    swiglu_backward(gate_up_in, act, d_gate_up);
    gate_up().input_gradient(d_gate_up, dx, Write::kAssign, scratch.precision);
  }
  Linear{grad.down}.add_weight_gradient(act, dy, scratch.precision);
  grad.gate_up().add_weight_gradient(x, d_gate_up, scratch.precision);
}

Block::Saved::Saved(Arena& arena, int64_t rows, int64_t d, int64_t heads, int64_t d_ff)
    : x(arena.matrix(rows, d)),
      z(arena.matrix(rows, d)),
      qkv(arena.matrix(rows, 3 * d)),
      out(arena.matrix(rows, d)),
      lse(arena.matrix(rows, heads)),
      gate_up(arena.matrix(rows, 2 * d_ff)),
      attn_rstd(arena.matrix(rows, 1)),
      ffn_rstd(arena.matrix(rows, 1)) {}

Block::Saved Block::Saved::row_range(int64_t begin, int64_t count) const {
  Saved s = *this;
  for (Mat* m : {&s.x, &s.z, &s.qkv, &s.out, &s.lse, &s.gate_up, &s.attn_rstd, &s.ffn_rstd})
    *m = m->row_range(begin, count);
  return s;
}

void Block::project_in(const AttentionPlan& plan, float eps, const Saved& s,
                       const Scratch& scratch) const {
  const Mat normed = scratch.normed.row_range(0, s.x.rows);
  attn_norm.forward(s.x, eps, normed, s.attn_rstd.data);
  attn.qkv().forward(normed, s.qkv, scratch.precision);
  Attention::rotate_queries(plan, s.q());
  Attention::rotate_keys(plan, s.k());
}

void Block::project_out(float eps, const Saved& s, const Scratch& scratch) const {
  copy(s.x, s.z);
  attn.output().forward(s.out, s.z, scratch.precision, Write::kAdd);
  ffn_norm.forward(s.z, eps, scratch.normed.row_range(0, s.x.rows), s.ffn_rstd.data);
}

void Block::forward(const AttentionPlan& plan, float eps, const Saved& saved, Mat y,
                    std::span<const KeyValues> cache, const Scratch& scratch) const {
  const RowTiles tiles(attn.wq, saved.x.rows);
  tiles.for_each([&](int64_t begin, int64_t count) {
    const AttentionPlan own = plan.with_queries(begin, count).with_keys(begin, count);
    const Saved s = saved.row_range(begin, count);
    project_in(own, eps, s, scratch.row_range(begin, count));
    Attention::append(own, s.kv(), cache);
  });
  const auto attend = [&](int64_t begin, int64_t count) {
    const Saved s = saved.row_range(begin, count);
    Attention::attend(plan.with_queries(begin, count), s.q(), saved.kv(), cache, s.out, s.lse,
                      scratch);
  };
  tiles.for_each(cache, attend, [&](int64_t begin, int64_t count) {
    const Saved s = saved.row_range(begin, count);
    const Scratch own = scratch.row_range(begin, count);
    const Mat out = y.row_range(begin, count);
    project_out(eps, s, own);
    copy(s.z, out);
    ffn.forward(own.normed, out, s.gate_up, own);
  });
}

void Block::recompute(const AttentionPlan& plan, float eps, const Saved& s,
                      const Scratch& scratch) const {
  project_in(plan, eps, s, scratch);
  Attention::attend(plan, s.q(), s.kv(), {}, s.out, s.lse, scratch);
  project_out(eps, s, scratch);
  ffn.gate_up().forward(scratch.normed.row_range(0, s.x.rows), s.gate_up, scratch.precision);
}

void Block::backward(const AttentionPlan& plan, const Saved& s, Mat dy, const Block& grad,
                     const Scratch& scratch) const {
  const int64_t d = s.x.cols, rows = s.x.rows;
  const Mat normed = scratch.normed.row_range(0, rows);
  const Mat d_normed = scratch.d_normed.row_range(0, rows);
  const Mat d_out = scratch.d_branch.row_range(0, rows);
  const Mat d_qkv = scratch.d_qkv.row_range(0, rows);

  rms_norm_again(s.z, ffn_norm.gain, s.ffn_rstd.data, normed);
  ffn.backward(normed, s.gate_up, dy, d_normed, grad.ffn, scratch);
  ffn_norm.backward(s.z, s.ffn_rstd.data, d_normed, dy, grad.ffn_norm, scratch);  // dy is now dz

  attn.output().backward(s.out, dy, d_out, Write::kAssign, grad.attn.output(), scratch.precision);
  const Mat dq = d_qkv.col_range(0, d), dkv = d_qkv.col_range(d, 2 * d);
  Attention::attend_backward(plan, s.q(), s.kv(), s.lse, d_out, dq, dkv, scratch);
  Attention::rotate_queries(plan, dq, true);
  Attention::rotate_keys(plan, d_qkv.col_range(d, d), true);
  rms_norm_again(s.x, attn_norm.gain, s.attn_rstd.data, normed);
  attn.qkv().backward(normed, d_qkv, d_normed, Write::kAssign, grad.attn.qkv(), scratch.precision);
  attn_norm.backward(s.x, s.attn_rstd.data, d_normed, dy, grad.attn_norm, scratch);
}

CrossBlock::Saved::Saved(Arena& arena, int64_t rows, int64_t source_rows, int64_t d, int64_t heads,
                         int64_t d_ff)
    : z(arena.matrix(rows, d)),
      q(arena.matrix(rows, d)),
      kv(arena.matrix(source_rows, 2 * d)),
      out(arena.matrix(rows, d)),
      lse(arena.matrix(rows, heads)),
      gate_up(arena.matrix(rows, 2 * d_ff)),
      q_rstd(arena.matrix(rows, 1)),
      kv_rstd(arena.matrix(source_rows, 1)),
      ffn_rstd(arena.matrix(rows, 1)) {}

CrossBlock::Saved CrossBlock::Saved::row_range(int64_t begin, int64_t count) const {
  Saved s = *this;
  for (Mat* m : {&s.x, &s.z, &s.q, &s.out, &s.lse, &s.gate_up, &s.q_rstd, &s.ffn_rstd})
    if (!m->empty()) *m = m->row_range(begin, count);
  return s;
}

CrossBlock::Saved CrossBlock::Saved::source_range(int64_t begin, int64_t count) const {
  Saved s = *this;
  for (Mat* m : {&s.source, &s.kv, &s.kv_rstd})
    if (!m->empty()) *m = m->row_range(begin, count);
  return s;
}

CrossBlock::Saved CrossBlock::Saved::first_rows(int64_t rows, int64_t source_rows) const {
  return row_range(0, rows).source_range(0, source_rows);
}

void CrossBlock::project_source(const AttentionPlan& plan, float eps, const Saved& s,
                                const Scratch& scratch) const {
  const Mat normed = scratch.d_normed.row_range(0, s.source.rows);
  kv_norm.forward(s.source, eps, normed, s.kv_rstd.data);
  attn.kv().forward(normed, s.kv, scratch.precision);
  Attention::rotate_keys(plan, s.k());
}

void CrossBlock::project_in(const AttentionPlan& plan, float eps, const Saved& s,
                            const Scratch& scratch) const {
  const Mat normed = scratch.normed.row_range(0, s.x.rows);
  q_norm.forward(s.x, eps, normed, s.q_rstd.data);
  Linear{attn.wq}.forward(normed, s.q, scratch.precision);
  Attention::rotate_queries(plan, s.q);
}

void CrossBlock::project_out(float eps, const Saved& s, const Scratch& scratch) const {
  const Mat a = scratch.d_branch.row_range(0, s.x.rows);
  attn.output().forward(s.out, a, scratch.precision);
  copy(s.x, s.z);
  add(a, s.z);
  ffn_norm.forward(s.z, eps, scratch.normed.row_range(0, s.x.rows), s.ffn_rstd.data);
}

void CrossBlock::forward(const AttentionPlan& plan, float eps, const Saved& saved, Mat y,
                         std::span<const KeyValues> cache, const Scratch& scratch) const {
  RowTiles(attn.wk, saved.source.rows).for_each([&](int64_t begin, int64_t count) {
    const AttentionPlan own = plan.with_keys(begin, count);
    const Saved s = saved.source_range(begin, count);
    project_source(own, eps, s, scratch.row_range(begin, count));
    Attention::append(own, s.kv, cache);
  });
  const auto attend = [&](int64_t begin, int64_t count) {
    const AttentionPlan own = plan.with_queries(begin, count);
    const Saved s = saved.row_range(begin, count);
    project_in(own, eps, s, scratch.row_range(begin, count));
    Attention::attend(own, s.q, s.kv, cache, s.out, s.lse, scratch);
  };
  RowTiles(attn.wq, saved.x.rows).for_each(cache, attend, [&](int64_t begin, int64_t count) {
    const Saved s = saved.row_range(begin, count);
    const Scratch own = scratch.row_range(begin, count);
    const Mat out = y.row_range(begin, count);
    project_out(eps, s, own);
    add(own.d_branch, out);
    ffn.forward(own.normed, out, s.gate_up, own);
  });
}

void CrossBlock::recompute(const AttentionPlan& plan, float eps, const Saved& s,
                           const Scratch& scratch) const {
  project_source(plan, eps, s, scratch);
  project_in(plan, eps, s, scratch);
  Attention::attend(plan, s.q, s.kv, {}, s.out, s.lse, scratch);
  project_out(eps, s, scratch);
  ffn.gate_up().forward(scratch.normed.row_range(0, s.x.rows), s.gate_up, scratch.precision);
}

void CrossBlock::backward(const AttentionPlan& plan, const Saved& s, ConstMat dy, Mat dx,
                          Mat d_source, const CrossBlock& grad, const Scratch& scratch) const {
  const int64_t d = s.x.cols, rows = s.x.rows, source_rows = s.source.rows;
  const Mat normed = scratch.normed.row_range(0, rows);
  const Mat d_normed = scratch.d_normed.row_range(0, rows);
  const Mat d_out = scratch.d_branch.row_range(0, rows);

  // Through the feed-forward part: dz, added to dx and, with dy, to da.
  rms_norm_again(s.z, ffn_norm.gain, s.ffn_rstd.data, normed);
  ffn.backward(normed, s.gate_up, dy, d_normed, grad.ffn, scratch);
  const Mat dz = scratch.d_residual.row_range(0, rows);
  fill(dz, 0.0f);
  ffn_norm.backward(s.z, s.ffn_rstd.data, d_normed, dz, grad.ffn_norm, scratch);
  add(dz, dx);
  add(dy, dz);
  const Mat da = dz;

  attn.output().backward(s.out, da, d_out, Write::kAssign, grad.attn.output(), scratch.precision);
  const Mat dq(scratch.d_qkv.data, rows, d);
  const Mat dkv(scratch.d_qkv.data + scratch.d_qkv.rows * d, source_rows, 2 * d);
  Attention::attend_backward(plan, s.q, s.kv, s.lse, d_out, dq, dkv, scratch);
  Attention::rotate_queries(plan, dq, true);
  Attention::rotate_keys(plan, dkv.col_range(0, d), true);

  rms_norm_again(s.x, q_norm.gain, s.q_rstd.data, normed);
  Linear{attn.wq}.backward(normed, dq, d_normed, Write::kAssign, {grad.attn.wq}, scratch.precision);
  q_norm.backward(s.x, s.q_rstd.data, d_normed, dx, grad.q_norm, scratch);

  const Mat normed_source = scratch.normed.row_range(0, source_rows);
  const Mat d_normed_source = scratch.d_normed.row_range(0, source_rows);
  rms_norm_again(s.source, kv_norm.gain, s.kv_rstd.data, normed_source);
  attn.kv().backward(normed_source, dkv, d_normed_source, Write::kAssign, grad.attn.kv(),
                     scratch.precision);
  kv_norm.backward(s.source, s.kv_rstd.data, d_normed_source, d_source, grad.kv_norm, scratch);
}

}  // namespace axl
