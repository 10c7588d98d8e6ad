#include "axl/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "row_kernels.h"

namespace axl {
namespace {

template <class T>
MatrixView<T> head_columns(MatrixView<T> x, int64_t head, int64_t heads) {
  return x.col_range(head * (x.cols / heads), x.cols / heads);
}

void zero(Mat x) {
  for (int64_t i = 0; i < x.rows; ++i) std::fill_n(x.row(i), x.cols, 0.0f);
}

/// Keys [first, end) of a block's that one query sees.
struct Visible {
  int64_t first, end;
};

// Zeroes what a query may not see, so that it adds nothing, bit for bit.
void hide(float* s, Visible v, int64_t keys) {
  std::fill(s, s + v.first, 0.0f);
  std::fill(s + v.end, s + keys, 0.0f);
}

// Turns the visible scores of a row into probabilities. Returns the log-sum-exp.
float softmax_row(float* s, Visible v, int64_t keys) {
  const float lse = row_kernels().softmax(s + v.first, v.end - v.first);
  hide(s, v, keys);
  return lse;
}

// p = exp(s − lse) where visible, else 0.
void probabilities_again(float* s, float lse, Visible v, int64_t keys) {
  row_kernels().scaled_exp(s + v.first, lse, 1.0f, v.end - v.first);
  hide(s, v, keys);
}

/// The keys that a block of queries sees, and what each query sees of them.
struct KeyRange {
  const AttentionHeads& heads;
  int64_t begin, count, all;
  KeyRange(const AttentionHeads& a, int64_t first_query, int64_t queries, int64_t keys)
      : heads(a),
        begin(a.first_visible(first_query, keys)),
        count(a.visible(first_query + queries - 1, keys) - begin),
        all(keys) {}
  Visible of(int64_t query) const {
    return {heads.first_visible(query, all) - begin, heads.visible(query, all) - begin};
  }
};

// Queries that pass by all their keys together.
constexpr int64_t kQueryTile = 4;

void dots(Rows q, ConstMat k, float scale, Mat scores) {
  row_kernels().dots(q, {k.data, k.stride, k.rows}, k.cols, scale, scores.data, scores.stride);
}
void dots(Rows q, ConstHalfMat k, float scale, Mat scores) {
  row_kernels().half_dots(q, {k.data, k.stride, k.rows}, k.cols, scale, scores.data, scores.stride);
}
void weighted_sums(Rows p, ConstMat v, Mat out) {
  row_kernels().weighted_sums(p, {v.data, v.stride, v.rows}, v.cols, out.data, out.stride);
}
void weighted_sums(Rows p, ConstHalfMat v, Mat out) {
  row_kernels().weighted_half_sums(p, {v.data, v.stride, v.rows}, v.cols, out.data, out.stride);
}

// Queries [first_query, first_query + q.rows) of one head. No library is asked: it would first make
// code for its kernels, which takes longer than reading a prompt.
template <class T>
void continue_tile(const AttentionHeads& a, int64_t first_query, ConstMat q, MatrixView<const T> k,
                   MatrixView<const T> v, Mat out, Mat lse, float* scratch) {
  const KeyRange range(a, first_query, q.rows, k.rows);
  const int64_t odd = range.begin % 2;  // sums pair even rows with odd ones
  const int64_t begin = range.begin - odd, keys = range.count + odd;
  const Mat scores(scratch, q.rows, keys);
  const float scale = 1.0f / std::sqrt(static_cast<float>(q.cols));
  dots({q.data, q.stride, q.rows}, k.row_range(begin, keys), scale, scores);
  for (int64_t i = 0; i < q.rows; ++i) {
    const Visible of = range.of(first_query + i), visible{of.first + odd, of.end + odd};
    lse(i, 0) = visible.end > 0 ? softmax_row(scores.row(i), visible, keys) : 0.0f;
    if (visible.end <= 0) std::fill_n(scores.row(i), keys, 0.0f);
  }
  weighted_sums({scores.data, keys, q.rows}, v.row_range(begin, keys), out);
}

// C = op(A) · B, or C += ….
void multiply(Trans ta, ConstMat a, ConstMat b, Mat c, Write write, Precision precision) {
  if (precision == Precision::kBf16)
    return gemm_serial(ta, a, Trans::kNo, b, c, write, 1.0f, precision);
  const bool transposed = ta == Trans::kYes;
  row_kernels().blocks->multiply({a.data, transposed ? 1 : a.stride, transposed ? a.stride : 1,
                                  b.data, b.stride, c.data, c.stride, c.rows, c.cols,
                                  transposed ? a.rows : a.cols, 1.0f, write == Write::kAdd});
}

// C = scale · A · Bᵀ; room for Bᵀ.
void multiply_transposed(ConstMat a, ConstMat b, float scale, Mat c, float* room,
                         Precision precision) {
  if (precision == Precision::kBf16)
    return gemm_serial(Trans::kNo, a, Trans::kYes, b, c, Write::kAssign, scale, precision);
  const BlockKernels& blocks = *row_kernels().blocks;
  blocks.transpose(b.data, b.stride, b.rows, b.cols, room, b.rows);
  blocks.multiply(
      {a.data, a.stride, 1, room, b.rows, c.data, c.stride, c.rows, c.cols, a.cols, scale, false});
}

}  // namespace

int64_t attention_scratch(int64_t keys, int64_t head_size) {
  return (2 * kQueryBlock + head_size) * keys;
}

void attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q, ConstMat k,
                    ConstMat v, Mat out, Mat lse, float* scratch) {
  const int64_t begin = block * kQueryBlock, count = std::min(kQueryBlock, q.rows - begin);
  const KeyRange range(a, begin, count, k.rows);
  const int64_t keys = range.count;
  const ConstMat qh = head_columns(q, head, a.heads).row_range(begin, count);
  const ConstMat kh = k.row_range(range.begin, keys), vh = v.row_range(range.begin, keys);
  const Mat oh = head_columns(out, head, a.heads).row_range(begin, count);
  const Mat scores(scratch, count, keys);

  const float scale = 1.0f / std::sqrt(static_cast<float>(qh.cols));
  multiply_transposed(qh, kh, scale, scores, scratch + count * keys, a.precision);
  for (int64_t i = 0; i < count; ++i) {
    const Visible v = range.of(begin + i);
    lse(begin + i, head) = v.end > 0 ? softmax_row(scores.row(i), v, keys) : 0.0f;
    if (v.end == 0) std::fill_n(scores.row(i), keys, 0.0f);
  }
  multiply(Trans::kNo, scores, vh, oh, Write::kAssign, a.precision);
  for (int64_t i = 0; i < count; ++i)  // 0 · v could be −0
    if (a.visible(begin + i, k.rows) == 0) std::fill_n(oh.row(i), oh.cols, 0.0f);
}

template <class T>
void continue_attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q,
                             MatrixView<const T> k, MatrixView<const T> v, Mat out, Mat lse,
                             float* scratch) {
  const ConstMat qh = head_columns(q, head, a.heads);
  const Mat oh = head_columns(out, head, a.heads);
  const int64_t end = std::min((block + 1) * kQueryBlock, q.rows);
  for (int64_t i = block * kQueryBlock; i < end; i += kQueryTile) {
    const int64_t queries = std::min(kQueryTile, end - i);
    continue_tile(a, i, qh.row_range(i, queries), k, v, oh.row_range(i, queries),
                  lse.row_range(i, queries).col_range(head, 1), scratch);
  }
}
template void continue_attention_head(const AttentionHeads&, int64_t, int64_t, ConstMat, ConstMat,
                                      ConstMat, Mat, Mat, float*);
template void continue_attention_head(const AttentionHeads&, int64_t, int64_t, ConstMat,
                                      ConstHalfMat, ConstHalfMat, Mat, Mat, float*);

void attention_head_backward(const AttentionHeads& a, int64_t head, ConstMat q, ConstMat k,
                             ConstMat v, ConstMat lse, ConstMat d_out, Mat dq, Mat dk, Mat dv,
                             float* scratch) {
  const Mat dk_head = head_columns(dk, head, a.heads), dv_head = head_columns(dv, head, a.heads);
  zero(dk_head);
  zero(dv_head);
  for (int64_t begin = 0; begin < q.rows; begin += kQueryBlock) {
    const int64_t count = std::min(kQueryBlock, q.rows - begin);
    const KeyRange range(a, begin, count, k.rows);
    const int64_t keys = range.count;
    const ConstMat qh = head_columns(q, head, a.heads).row_range(begin, count);
    const ConstMat kh = head_columns(k, head, a.heads).row_range(range.begin, keys);
    const ConstMat vh = head_columns(v, head, a.heads).row_range(range.begin, keys);
    const ConstMat doh = head_columns(d_out, head, a.heads).row_range(begin, count);
    const Mat dqh = head_columns(dq, head, a.heads).row_range(begin, count);
    const Mat p(scratch, count, keys), dp(scratch + count * keys, count, keys);
    float* room = scratch + 2 * count * keys;

    const float scale = 1.0f / std::sqrt(static_cast<float>(qh.cols));
    multiply_transposed(qh, kh, scale, p, room, a.precision);
    multiply_transposed(doh, vh, 1.0f, dp, room, a.precision);
    for (int64_t i = 0; i < count; ++i) {
      probabilities_again(p.row(i), lse(begin + i, head), range.of(begin + i), keys);
    }
    multiply(Trans::kYes, p, doh, dv_head.row_range(range.begin, keys), Write::kAdd, a.precision);
    // ds = p · (dp − Σ p·dp) · scale, over dp. The sum equals d_out·out, but taken this way it
    // cancels exactly where a query sees a single key.
    for (int64_t i = 0; i < count; ++i)
      row_kernels().softmax_backward(p.row(i), dp.row(i), scale, keys);
    multiply(Trans::kNo, dp, kh, dqh, Write::kAssign, a.precision);
    multiply(Trans::kYes, dp, qh, dk_head.row_range(range.begin, keys), Write::kAdd, a.precision);
  }
}

}  // namespace axl
