#include "axl/kernels/attention.h"

#include <algorithm>
#include <array>
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

Rows rows_of(ConstMat x) { return {x.data, x.stride, x.rows}; }
ByteRows rows_of(ConstScaledMat x) { return {x.codes.data, x.codes.stride, x.rows}; }

// Column j times scales[j].
void scale_columns(Mat x, const float* scales) {
  for (int64_t i = 0; i < x.rows; ++i) row_kernels().multiply(scales, x.row(i), x.cols);
}

// scores = scale · q · kᵀ.
void dots(ConstMat q, ConstMat k, float scale, Mat scores) {
  row_kernels().dots(rows_of(q), rows_of(k), k.cols, scale, scores.data, scores.stride);
}
void dots(ConstMat q, ConstScaledMat k, float scale, Mat scores) {
  row_kernels().byte_dots(rows_of(q), rows_of(k), k.cols, scale, scores.data, scores.stride);
  scale_columns(scores, k.scales);
}

// out = p · v. p may be overwritten.
void weighted_sums(Mat p, ConstMat v, Mat out) {
  row_kernels().weighted_sums(rows_of(p), rows_of(v), v.cols, out.data, out.stride);
}
void weighted_sums(Mat p, ConstScaledMat v, Mat out) {
  scale_columns(p, v.scales);
  row_kernels().weighted_byte_sums(rows_of(p), rows_of(v), v.cols, out.data, out.stride);
}

// Queries [first_query, first_query + q.rows) of one head. No library is asked: it would first make
// code for its kernels, which takes longer than reading a prompt.
template <class KeyRows>
void continue_tile(const AttentionHeads& a, int64_t first_query, ConstMat q, KeyRows k, KeyRows v,
                   Mat out, Mat lse, float* scratch) {
  const KeyRange range(a, first_query, q.rows, k.rows);
  const int64_t odd = range.begin % 2;  // sums pair even rows with odd ones
  const int64_t begin = range.begin - odd, keys = range.count + odd;
  const Mat scores(scratch, q.rows, keys);
  const float scale = 1.0f / std::sqrt(static_cast<float>(q.cols));
  dots(q, k.row_range(begin, keys), scale, scores);
  for (int64_t i = 0; i < q.rows; ++i) {
    const Visible of = range.of(first_query + i), visible{of.first + odd, of.end + odd};
    lse(i, 0) = visible.end > 0 ? softmax_row(scores.row(i), visible, keys) : 0.0f;
    if (visible.end <= 0) std::fill_n(scores.row(i), keys, 0.0f);
  }
  weighted_sums(scores, v.row_range(begin, keys), out);
}

template <class KeyRows>
void continue_block(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q, KeyRows k,
                    KeyRows v, Mat out, Mat lse, float* scratch) {
  const ConstMat qh = head_columns(q, head, a.heads);
  const Mat oh = head_columns(out, head, a.heads);
  const int64_t end = std::min((block + 1) * kQueryBlock, q.rows);
  for (int64_t i = block * kQueryBlock; i < end; i += kQueryTile) {
    const int64_t queries = std::min(kQueryTile, end - i);
    continue_tile(a, i, qh.row_range(i, queries), k, v, oh.row_range(i, queries),
                  lse.row_range(i, queries).col_range(head, 1), scratch);
  }
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

/// Scores of one head's block of queries, transposed: [keys, queries], rows kQueryBlock apart, so
/// that each lane of a register has a query of its own and sums over keys cross no lanes. What no
/// query of a group sees is not computed: of 256 tokens a tenth is in vain, not a quarter.
class ScoreBlock {
 public:
  ScoreBlock(const AttentionHeads& a, int64_t first_query, int64_t queries, int64_t keys)
      : range_(a, first_query, queries, keys), queries_(queries), precision_(a.precision) {
    for (int64_t i = 0; i < queries; ++i) {
      const Visible v = range_.of(i + first_query);
      first_[i] = static_cast<int32_t>(v.first);
      end_[i] = static_cast<int32_t>(v.end);
    }
    // What fills the last register sees what the last query does.
    std::fill(first_.begin() + queries, first_.end(), first_[queries - 1]);
    std::fill(end_.begin() + queries, end_.end(), end_[queries - 1]);
  }

  int64_t first_key() const { return range_.begin; }
  int64_t keys() const { return range_.count; }
  bool sees_none(int64_t query) const { return first_[query] >= end_[query]; }
  Mat matrix(float* data) const { return Mat(data, keys(), queries_, kQueryBlock); }

  /// scores = scale · k · qᵀ.
  void score(ConstMat k, ConstMat q, float scale, Mat scores, float* room) const {
    for_groups(queries_, kScoredTogether, [&](int64_t i, int64_t count) {
      const Visible seen = keys_of(i, count);
      multiply_transposed(rows(k, seen), q.row_range(i, count), scale,
                          rows(scores, seen).col_range(i, count), room, precision_);
    });
  }

  /// y [queries, ·] = weightsᵀ · x, x a row for each key.
  void sum_over_keys(ConstMat weights, ConstMat x, Mat y) const {
    for_groups(queries_, kSummedTogether, [&](int64_t i, int64_t count) {
      const Visible seen = keys_of(i, count);
      multiply(Trans::kYes, rows(weights, seen).col_range(i, count), rows(x, seen),
               y.row_range(i, count), Write::kAssign, precision_);
    });
  }

  /// y [keys, ·] = weights · x, x a row for each query; or y += … in the first `written` rows.
  void sum_over_queries(ConstMat weights, ConstMat x, Mat y, int64_t written) const {
    const auto sum = [&](int64_t j, int64_t count, Write write) {
      const Visible by = queries_of(j, count);
      multiply(Trans::kNo, weights.row_range(j, count).col_range(by.first, by.end - by.first),
               rows(x, by), y.row_range(j, count), write, precision_);
    };
    for_groups(written, kSummedTogether,
               [&](int64_t j, int64_t count) { sum(j, count, Write::kAdd); });
    for_groups(keys() - written, kSummedTogether,
               [&](int64_t j, int64_t count) { sum(written + j, count, Write::kAssign); });
  }

  /// Scores become probabilities; lse has room for kQueryBlock.
  void softmax(Mat scores, float* lse) const {
    row_kernels().blocks->softmax_columns(scores.data, kQueryBlock, keys(), queries_, first_.data(),
                                          end_.data(), lse);
  }
  /// Scores become probabilities again, and their gradient dp that of the products of q and k. What
  /// is taken off there, Σ p·dp, equals d_out·out, but cancels exactly where a query sees one key.
  void softmax_backward(Mat scores, Mat dp, const float* lse, float scale) const {
    row_kernels().blocks->softmax_columns_backward(scores.data, dp.data, kQueryBlock, keys(),
                                                   queries_, first_.data(), end_.data(), lse,
                                                   scale);
  }

 private:
  // Whole register tiles of every instruction set: few, so that little is computed in vain.
  static constexpr int64_t kScoredTogether = 32, kSummedTogether = 24;

  static ConstMat rows(ConstMat x, Visible v) { return x.row_range(v.first, v.end - v.first); }
  static Mat rows(Mat x, Visible v) { return x.row_range(v.first, v.end - v.first); }

  template <class Body>
  void for_groups(int64_t n, int64_t size, const Body& body) const {
    // bf16 packs operands for every product: one for all queries and keys.
    if (precision_ == Precision::kBf16) size = std::max<int64_t>(1, n);
    for (int64_t i = 0; i < n; i += size) body(i, std::min(size, n - i));
  }

  /// Keys that any of some queries sees: later ones see later keys.
  Visible keys_of(int64_t query, int64_t count) const {
    return {first_[query], std::max(first_[query], end_[query + count - 1])};
  }
  /// Queries that see any of some keys.
  Visible queries_of(int64_t key, int64_t count) const {
    const auto queries_up_to = [this](const auto& keys, int64_t last) {
      return std::upper_bound(keys.begin(), keys.begin() + queries_, last) - keys.begin();
    };
    const int64_t end = queries_up_to(first_, key + count - 1);
    return {std::min<int64_t>(queries_up_to(end_, key), end), end};
  }

  KeyRange range_;
  int64_t queries_;
  Precision precision_;
  std::array<int32_t, kQueryBlock> first_, end_;  // keys that each query sees
};

}  // namespace

int64_t attention_scratch(int64_t keys, int64_t head_size) {
  return kQueryBlock * (2 * keys + head_size);
}

void attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q, ConstMat k,
                    ConstMat v, Mat out, Mat lse, float* scratch) {
  const int64_t begin = block * kQueryBlock, count = std::min(kQueryBlock, q.rows - begin);
  const ScoreBlock on(a, begin, count, k.rows);
  const ConstMat qh = head_columns(q, head, a.heads).row_range(begin, count);
  const Mat oh = head_columns(out, head, a.heads).row_range(begin, count);
  const ConstMat kh = k.row_range(on.first_key(), on.keys());
  const ConstMat vh = v.row_range(on.first_key(), on.keys());
  const Mat scores = on.matrix(scratch);

  const float scale = 1.0f / std::sqrt(static_cast<float>(qh.cols));
  on.score(kh, qh, scale, scores, scratch + kQueryBlock * on.keys());
  std::array<float, kQueryBlock> log_sums{};
  on.softmax(scores, log_sums.data());
  on.sum_over_keys(scores, vh, oh);
  for (int64_t i = 0; i < count; ++i) {
    lse(begin + i, head) = log_sums[i];
    if (on.sees_none(i)) std::fill_n(oh.row(i), oh.cols, 0.0f);  // 0 · v could be −0
  }
}

void continue_attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q,
                             ConstMat k, ConstMat v, Mat out, Mat lse, float* scratch) {
  continue_block(a, head, block, q, k, v, out, lse, scratch);
}
void continue_attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q,
                             ConstScaledMat k, ConstScaledMat v, Mat out, Mat lse, float* scratch) {
  continue_block(a, head, block, q, k, v, out, lse, scratch);
}

void attention_head_backward(const AttentionHeads& a, int64_t head, ConstMat q, ConstMat k,
                             ConstMat v, ConstMat lse, ConstMat d_out, Mat dq, Mat dk, Mat dv,
                             float* scratch) {
  const Mat dk_head = head_columns(dk, head, a.heads), dv_head = head_columns(dv, head, a.heads);
  int64_t written = 0;  // rows of dk and dv
  const auto zero_until = [&](int64_t end) {
    for (const Mat& d : {dk_head, dv_head})
      if (written < end) zero(d.row_range(written, end - written));
  };
  for (int64_t begin = 0; begin < q.rows; begin += kQueryBlock) {
    const int64_t count = std::min(kQueryBlock, q.rows - begin);
    const ScoreBlock on(a, begin, count, k.rows);
    const int64_t first = on.first_key(), keys = on.keys();
    const ConstMat qh = head_columns(q, head, a.heads).row_range(begin, count);
    const ConstMat kh = head_columns(k, head, a.heads).row_range(first, keys);
    const ConstMat vh = head_columns(v, head, a.heads).row_range(first, keys);
    const ConstMat doh = head_columns(d_out, head, a.heads).row_range(begin, count);
    const Mat dqh = head_columns(dq, head, a.heads).row_range(begin, count);
    const Mat p = on.matrix(scratch), dp = on.matrix(scratch + kQueryBlock * keys);
    float* room = scratch + 2 * kQueryBlock * keys;

    const float scale = 1.0f / std::sqrt(static_cast<float>(qh.cols));
    on.score(kh, qh, scale, p, room);
    on.score(vh, doh, 1.0f, dp, room);
    std::array<float, kQueryBlock> log_sums{};
    for (int64_t i = 0; i < count; ++i) log_sums[i] = lse(begin + i, head);
    on.softmax_backward(p, dp, log_sums.data(), scale);
    on.sum_over_keys(dp, kh, dqh);
    // Keys that no block before has seen are assigned, and 0 where none ever sees them.
    zero_until(first);
    const int64_t added = std::clamp<int64_t>(written - first, 0, keys);
    on.sum_over_queries(p, doh, dv_head.row_range(first, keys), added);
    on.sum_over_queries(dp, qh, dk_head.row_range(first, keys), added);
    written = std::max(written, first + keys);
  }
  zero_until(k.rows);
}

}  // namespace axl
