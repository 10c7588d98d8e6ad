#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/gemm.h"
#include "axl/kernels/packed_gemm.h"
#include "axl/nn/segments.h"
#include "axl/tensor/arena.h"
#include "axl/tensor/view.h"

/// The layers of the model: forward beside backward.
///
/// A layer is a struct of views on its parameters and nothing else. Its gradient is the same struct
/// with views on gradient memory: `backward` takes it as `grad` and adds to it. What backward needs
/// from forward is kept in the layer's `Saved`, whose buffers are planned on an arena beforehand,
/// so that a step allocates nothing; inference plans one Saved and uses it for layer after layer.
///
/// Letters: R rows (tokens of all sequences), D width, H heads, F feed-forward width, V vocabulary.
namespace axl {

/// What initialisation and optimizers want to know about a parameter.
enum class Role { kGain, kMatrix, kResidualOutput, kEmbedding, kGate, kOutput, kVotes, kTable };

/// Scratch that all layers share, for at most R rows. Contents never outlive a call of a layer.
struct Scratch {
  Precision precision = Precision::kF32;  ///< of the products with weights

  Mat normed;      ///< [R, D] input of a projection, or its gradient's twin
  Mat d_normed;    ///< [R, D]
  Mat d_branch;    ///< [R, D]
  Mat d_residual;  ///< [R, D]
  Mat act;         ///< [R, F], or its gradient
  Mat d_gate_up;   ///< [R, 2F]
  Mat d_qkv;       ///< [R, 3D]; cross-scale attention keeps dq [R, D] and dkv [R, 2D] in it
  Mat partials;    ///< [kPartials, max(D, S·S·D)]
  Mat attention;   ///< [threads, attention_scratch(keys, head size)]

  /// Of what a forward pass needs, rows [begin, begin + count) of each.
  Scratch row_range(int64_t begin, int64_t count) const;
};

/// A matrix of parameters: f32, or, in a model read from a quantised file, rows that stay coded
/// there, in up to three consecutive runs; then `data` is null and there is no backward.
struct Weight : Mat {
  std::array<PackedMatrix, 3> packed;
  int64_t parameter = -1;  ///< its number in the parameter table

  Weight() = default;
  Weight(Mat m) : Mat(m) {}  // NOLINT: a matrix is a weight
  bool is_packed() const { return !packed[0].empty(); }
  bool is_block_coded() const { return is_packed() && element_format(packed[0].type).elements > 1; }
};

/// Parameters that lie one after another in memory, as one matrix; or their coded runs.
inline Weight stacked(const Weight& first, const Weight& second) {
  Weight all(Mat(first.data, first.rows + second.rows, first.cols));
  all.packed = {first.packed[0], second.packed[0]};
  return all;
}
inline Weight stacked(const Weight& first, const Weight& second, const Weight& third) {
  Weight all(Mat(first.data, first.rows + second.rows + third.rows, first.cols));
  all.packed = {first.packed[0], second.packed[0], third.packed[0]};
  return all;
}

/// y = x Wᵀ, W [out, in].
struct Linear {
  Weight weight;

  void forward(ConstMat x, Mat y, Precision precision, Write write = Write::kAssign) const {
    if (weight.is_packed()) return packed_gemm(x, weight.packed, y, write);
    gemm(Trans::kNo, x, Trans::kYes, weight, y, write, 1.0f, precision);
  }
  /// dx = dy W (or +=).
  void input_gradient(ConstMat dy, Mat dx, Write dx_write, Precision precision) const {
    gemm(Trans::kNo, dy, Trans::kNo, weight, dx, dx_write, 1.0f, precision);
  }
  /// For the gradient of a layer: W += dyᵀ x.
  void add_weight_gradient(ConstMat x, ConstMat dy, Precision precision) const {
    gemm(Trans::kYes, dy, Trans::kNo, x, weight, Write::kAdd, 1.0f, precision);
  }
  /// Both.
  void backward(ConstMat x, ConstMat dy, Mat dx, Write dx_write, const Linear& grad,
                Precision precision) const {
    input_gradient(dy, dx, dx_write, precision);
    grad.add_weight_gradient(x, dy, precision);
  }
};

struct RmsNorm {
  Weight gain;  ///< [1, D]

  void forward(ConstMat x, float eps, Mat y, float* rstd) const { rms_norm(x, gain, eps, y, rstd); }
  /// dx += …, grad.gain += ….
  void backward(ConstMat x, const float* rstd, ConstMat dy, Mat dx, const RmsNorm& grad,
                const Scratch& scratch) const {
    rms_norm_backward(x, gain, rstd, dy, dx, grad.gain, scratch.partials);
  }
};

/// What attention needs beside its rows: where they are, and what they may see.
struct AttentionPlan {
  int64_t heads = 1;
  const RopeTable* rope = nullptr;
  const Segments* queries = nullptr;
  const Segments* keys = nullptr;
  int64_t query_factor = 1, key_factor = 1;
  /// Positions are byte indices at which tokens end (cross-scale) or token counts (a stack's own).
  bool byte_positions = false;
  int64_t window = 0;  ///< of the keys, a query sees the last so many; 0 all
  /// Of the rows of queries and of keys, those that the matrices given with the plan hold.
  RowRange query_rows = {}, key_rows = {};

  AttentionPlan with_queries(int64_t begin, int64_t count) const {
    AttentionPlan some = *this;
    some.query_rows = {begin, begin + count};
    return some;
  }
  AttentionPlan with_keys(int64_t begin, int64_t count) const {
    AttentionPlan some = *this;
    some.key_rows = {begin, begin + count};
    return some;
  }
  Segment query(int64_t sequence) const { return query_rows.part_of((*queries)[sequence]); }
  Segment key(int64_t sequence) const { return key_rows.part_of((*keys)[sequence]); }
  int64_t sequences() const { return static_cast<int64_t>(queries->size()); }
};

/// Room for the keys and values of one sequence's tokens. It holds one head after another, so that
/// a query reads each as one stream: keys of head h in rows h · T to (h + 1) · T, its values in
/// rows (H + h) · T on, of [2H · T, D / H] with room for T tokens.
struct KeyValues {
  Mat f32;
  ScaledMat i8;  ///< or this: a quarter to read, exact enough beside coded weights
};

/// The projections of multi-head attention, [D, D] each, adjacent in memory in this order, so that
/// neighbours can be applied as one product.
struct Attention {
  Weight wq, wk, wv, wo;

  Linear qkv() const { return {stacked(wq, wk, wv)}; }
  Linear kv() const { return {stacked(wk, wv)}; }
  Linear output() const { return {wo}; }

  /// Rotates q, or k, of the new tokens in place.
  static void rotate_queries(const AttentionPlan& plan, Mat q, bool inverse = false);
  static void rotate_keys(const AttentionPlan& plan, Mat k, bool inverse = false);
  /// Rotated keys and values kv [Rk, 2D] to where cache[i] has room for them, for each sequence i;
  /// nothing without a cache.
  static void append(const AttentionPlan& plan, ConstMat kv, std::span<const KeyValues> cache);
  /// out [R, D] from rotated q [R, D]; keys and values in the rows of kv [Rk, 2D], or, for
  /// sequence i, in cache[i] where a cache is given, to which they were appended.
  static void attend(const AttentionPlan& plan, ConstMat q, ConstMat kv,
                     std::span<const KeyValues> cache, Mat out, Mat lse, const Scratch& scratch);
  /// A few queries and keys, not rotated yet, and what attend() takes with them.
  struct Job {
    const AttentionPlan* plan;
    Mat q, kv;
    std::span<const KeyValues> cache;
    Mat out, lse;
  };
  /// All of the above of job(of, i) for each i below `count`, of as many sequences and heads
  /// each, in one loop over threads. A head always has the same thread, whose core so keeps that
  /// head's part of the cache.
  static void attend_together(int64_t count, const void* of, Job (*job)(const void* of, int64_t i),
                              const Scratch& scratch);
  static void attend_backward(const AttentionPlan& plan, ConstMat q, ConstMat kv, ConstMat lse,
                              ConstMat d_out, Mat dq, Mat dkv, const Scratch& scratch);
};

/// down(silu(gate x) · up x). gate, up [F, D] adjacent in memory, down [D, F].
struct SwiGlu {
  Weight gate, up, down;

  Linear gate_up() const { return {stacked(gate, up)}; }

  /// y += …; keeps gate_up [R, 2F].
  void forward(ConstMat x, Mat y, Mat gate_up, const Scratch& scratch) const;
  /// dx = ….
  void backward(ConstMat x, ConstMat gate_up, ConstMat dy, Mat dx, const SwiGlu& grad,
                const Scratch& scratch) const;
};

/// Pre-norm transformer block, the same as LLaMA's (arXiv:2302.13971):
/// z = x + attention(norm x), y = z + swiglu(norm z).
struct Block {
  RmsNorm attn_norm;
  Attention attn;
  RmsNorm ffn_norm;
  SwiGlu ffn;

  struct Saved {
    Mat x, z;                 ///< [R, D]
    Mat qkv;                  ///< [R, 3D], q and k rotated
    Mat out, lse;             ///< [R, D], [R, H]
    Mat gate_up;              ///< [R, 2F]
    Mat attn_rstd, ffn_rstd;  ///< [R, 1]
    Saved() = default;
    Saved(Arena& arena, int64_t rows, int64_t d, int64_t heads, int64_t d_ff);
    Saved first_rows(int64_t rows) const { return row_range(0, rows); }
    Saved row_range(int64_t begin, int64_t count) const;
    Mat q() const { return qkv.col_range(0, x.cols); }
    Mat k() const { return qkv.col_range(x.cols, x.cols); }
    Mat kv() const { return qkv.col_range(x.cols, 2 * x.cols); }
  };

  /// Reads saved.x; y [R, D] may alias saved.x. cache: one per sequence, or none.
  void forward(const AttentionPlan& plan, float eps, const Saved& saved, Mat y,
               std::span<const KeyValues> cache, const Scratch& scratch) const;
  /// Fills saved from saved.x as forward did, bit for bit, without a result.
  void recompute(const AttentionPlan& plan, float eps, const Saved& saved,
                 const Scratch& scratch) const;
  /// dy [R, D] becomes dx.
  void backward(const AttentionPlan& plan, const Saved& saved, Mat dy, const Block& grad,
                const Scratch& scratch) const;

 private:
  /// saved.qkv.
  void project_in(const AttentionPlan& plan, float eps, const Saved& saved,
                  const Scratch& scratch) const;
  /// saved.z, and scratch.normed: the input of the feed-forward part.
  void project_out(float eps, const Saved& saved, const Scratch& scratch) const;
};

/// What one scale (x, the target) learns from another (source):
/// a = attention(q_norm x → kv_norm source), result a + swiglu(ffn_norm(x + a)).
struct CrossBlock {
  RmsNorm q_norm, kv_norm;
  Attention attn;
  RmsNorm ffn_norm;
  SwiGlu ffn;

  struct Saved {
    Mat x, source;                  ///< [R, D], [Rs, D]: views, set by whoever calls forward
    Mat z;                          ///< [R, D], x + a
    Mat q, kv;                      ///< [R, D], [Rs, 2D]
    Mat out, lse;                   ///< [R, D], [R, H]
    Mat gate_up;                    ///< [R, 2F]
    Mat q_rstd, kv_rstd, ffn_rstd;  ///< [R, 1], [Rs, 1], [R, 1]
    Saved() = default;
    Saved(Arena& arena, int64_t rows, int64_t source_rows, int64_t d, int64_t heads, int64_t d_ff);
    Saved first_rows(int64_t rows, int64_t source_rows) const;
    /// Some rows of x and of what follows from them alone; source and kv stay as they are.
    Saved row_range(int64_t begin, int64_t count) const;
    /// Some rows of source, and of kv.
    Saved source_range(int64_t begin, int64_t count) const;
    Mat k() const { return kv.col_range(0, source.cols); }
  };

  /// y += result.
  void forward(const AttentionPlan& plan, float eps, const Saved& saved, Mat y,
               std::span<const KeyValues> cache, const Scratch& scratch) const;
  /// Fills saved from saved.x and saved.source as forward did, bit for bit, without a result.
  void recompute(const AttentionPlan& plan, float eps, const Saved& saved,
                 const Scratch& scratch) const;
  /// dx += …, d_source += … from dy, the gradient of the result.
  void backward(const AttentionPlan& plan, const Saved& saved, ConstMat dy, Mat dx, Mat d_source,
                const CrossBlock& grad, const Scratch& scratch) const;

 private:
  /// saved.kv.
  void project_source(const AttentionPlan& plan, float eps, const Saved& saved,
                      const Scratch& scratch) const;
  /// saved.q.
  void project_in(const AttentionPlan& plan, float eps, const Saved& saved,
                  const Scratch& scratch) const;
  /// saved.z, scratch.d_branch: a, and scratch.normed: the input of the feed-forward part.
  void project_out(float eps, const Saved& saved, const Scratch& scratch) const;
};

/// Visits every parameter of a layer as visit(name, view, role). The one list of names that
/// initialisation, optimizers, checkpoints, export and counting use.
template <class Visit>
void visit_parameters(Attention& a, const std::string& prefix, Visit&& visit) {
  visit(prefix + "wq.weight", a.wq, Role::kMatrix);
  visit(prefix + "wk.weight", a.wk, Role::kMatrix);
  visit(prefix + "wv.weight", a.wv, Role::kMatrix);
  visit(prefix + "wo.weight", a.wo, Role::kResidualOutput);
}
template <class Visit>
void visit_parameters(SwiGlu& f, const std::string& prefix, Visit&& visit) {
  visit(prefix + "gate.weight", f.gate, Role::kMatrix);
  visit(prefix + "up.weight", f.up, Role::kMatrix);
  visit(prefix + "down.weight", f.down, Role::kResidualOutput);
}
template <class Visit>
void visit_parameters(Block& b, const std::string& prefix, Visit&& visit) {
  visit(prefix + "attn_norm.weight", b.attn_norm.gain, Role::kGain);
  visit_parameters(b.attn, prefix + "attn.", visit);
  visit(prefix + "ffn_norm.weight", b.ffn_norm.gain, Role::kGain);
  visit_parameters(b.ffn, prefix + "ffn.", visit);
}
template <class Visit>
void visit_parameters(CrossBlock& b, const std::string& prefix, Visit&& visit) {
  visit(prefix + "q_norm.weight", b.q_norm.gain, Role::kGain);
  visit(prefix + "kv_norm.weight", b.kv_norm.gain, Role::kGain);
  visit_parameters(b.attn, prefix + "attn.", visit);
  visit(prefix + "ffn_norm.weight", b.ffn_norm.gain, Role::kGain);
  visit_parameters(b.ffn, prefix + "ffn.", visit);
}

}  // namespace axl
