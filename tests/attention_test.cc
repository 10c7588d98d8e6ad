// Attention with causality across scales and windows, against plain loops in double.
#include "axl/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "axl/kernels/elementwise.h"
#include "isa_testing.h"
#include "testing.h"

namespace axl {
namespace {

AXL_EACH_ISA(Attention);

struct AttentionCase {
  int64_t queries, keys;
  AttentionHeads heads;
};

constexpr int64_t kWidth = 24;  // of all heads together

/// Keys that query i sees, by the rule itself: key j has ended no later than the query.
int64_t visible_by_rule(const AttentionCase& c, int64_t query) {
  const int64_t query_end = c.heads.query_factor * (c.heads.query_begin + query + 1) - 1;
  int64_t seen = 0;
  while (seen < c.keys && c.heads.key_factor * (seen + 1) - 1 <= query_end) ++seen;
  return seen;
}

/// The first of them: of what has ended, the window holds the last.
int64_t first_by_rule(const AttentionCase& c, int64_t query) {
  int64_t first = 0;
  while (c.heads.window > 0 && visible_by_rule(c, query) - first > c.heads.window) ++first;
  return first;
}

/// One head's output row in double, and its log-sum-exp.
double naive_row(const AttentionCase& c, int64_t head, int64_t query, Mat q, Mat k, Mat v,
                 std::vector<double>& out) {
  const int64_t size = kWidth / c.heads.heads, first = head * size;
  const int64_t begin = first_by_rule(c, query), end = visible_by_rule(c, query);
  out.assign(size, 0.0);
  std::vector<double> scores(end);
  double sum = 0;
  for (int64_t j = begin; j < end; ++j) {
    for (int64_t d = 0; d < size; ++d)
      scores[j] += double(q(query, first + d)) * k(j, first + d) / std::sqrt(double(size));
    sum += std::exp(scores[j]);
  }
  for (int64_t j = begin; j < end; ++j)
    for (int64_t d = 0; d < size; ++d) out[d] += std::exp(scores[j]) / sum * v(j, first + d);
  return end > 0 ? std::log(sum) : 0.0;
}

const AttentionCase kCases[] = {
    {9, 9, {.heads = 3}},
    {70, 70, {.heads = 2}},                                      // two blocks of queries
    {5, 12, {.heads = 2, .query_begin = 7}},                     // decoding with a cache
    {40, 20, {.heads = 2, .query_factor = 1, .key_factor = 2}},  // the first query sees none
    {30, 7, {.heads = 3, .query_factor = 1, .key_factor = 4}},   // nor do the first three
    {10, 40, {.heads = 2, .query_factor = 4, .key_factor = 1}},
    {10, 20, {.heads = 2, .query_factor = 4, .key_factor = 2}},
    {20, 9, {.heads = 1, .query_factor = 2, .key_factor = 4}},
    {3, 9, {.heads = 2, .query_begin = 6, .query_factor = 2, .key_factor = 1}},
    {70, 1, {.heads = 2, .query_factor = 1, .key_factor = 69}},  // none in the first whole block
    {130, 130, {.heads = 3}},
    {100, 75, {.heads = 1, .query_factor = 3, .key_factor = 4}},
    // Windows: of one key, of some, of more than there are; in and across scales; with a cache.
    {9, 9, {.heads = 3, .window = 1}},
    {40, 40, {.heads = 2, .window = 7}},
    {9, 9, {.heads = 1, .window = 100}},
    {70, 70, {.heads = 2, .window = 5}},  // a block of queries of which none sees the first key
    {40, 20, {.heads = 2, .query_factor = 1, .key_factor = 2, .window = 1}},
    {30, 7, {.heads = 3, .query_factor = 1, .key_factor = 4, .window = 2}},
    {10, 40, {.heads = 2, .query_factor = 4, .key_factor = 1, .window = 3}},
    {10, 20, {.heads = 2, .query_factor = 4, .key_factor = 2, .window = 5}},
    {66, 264, {.heads = 1, .query_factor = 4, .window = 3}},  // no query sees some keys
    {5, 12, {.heads = 2, .query_begin = 7, .window = 4}},
    {3, 9, {.heads = 2, .query_begin = 6, .query_factor = 2, .key_factor = 1, .window = 3}},
};

/// How a head's result is computed: as training does, or as a text is continued.
enum class How { kForBackward, kContinued, kContinuedFromBytes };
constexpr How kAll[] = {How::kForBackward, How::kContinued, How::kContinuedFromBytes};

/// A matrix in 8 bits, which has an address even without elements.
struct Bytes {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  ScaledMat view;
  explicit Bytes(ConstMat m)
      : codes(m.size() + 1),
        scales(m.rows + 1),
        view({codes.data(), m.rows, m.cols}, scales.data()) {
    copy(m, view);
  }
};
/// What is left of a matrix in 8 bits, each head's part of a row by itself.
void round_to_bytes(Matrix& m, int64_t heads) {
  const int64_t size = m.cols / heads;
  for (int64_t head = 0; head < heads; ++head) {
    const Bytes bytes(m.view().col_range(head * size, size));
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t i = 0; i < size; ++i)
        m(r, head * size + i) = bytes.view.scales[r] * bytes.view.codes(r, i);
  }
}

void attend(How how, const AttentionHeads& heads, int64_t head, Mat q, Mat k, Mat v, Mat out,
            Mat lse, float* scratch) {
  const Bytes k_bytes(k), v_bytes(v);
  for (int64_t block = 0; block * kQueryBlock < q.rows; ++block) {
    if (how == How::kForBackward)
      attention_head(heads, head, block, q, k, v, out, lse, scratch);
    else if (how == How::kContinued)
      continue_attention_head(heads, head, block, q, k, v, out, lse, scratch);
    else
      continue_attention_head(heads, head, block, q, k_bytes.view, v_bytes.view, out, lse, scratch);
  }
}

TEST(AttentionHeads, VisibilityIsTheCausalityRule) {
  for (const AttentionCase& c : kCases)
    for (int64_t i = 0; i < c.queries; ++i) {
      EXPECT_EQ(c.heads.visible(i, c.keys), visible_by_rule(c, i)) << i;
      EXPECT_EQ(c.heads.first_visible(i, c.keys), first_by_rule(c, i)) << i;
    }
}

Mat of_head(Matrix& m, const AttentionCase& c, int64_t head) {
  const int64_t size = m.cols / c.heads.heads;
  return m.view().col_range(head * size, size);
}

TEST_P(Attention, MatchesDouble) {
  for (How how : kAll) {
    for (const AttentionCase& c : kCases) {
      Matrix q = random_matrix(c.queries, kWidth, 1), k = random_matrix(c.keys, kWidth, 2);
      Matrix v = random_matrix(c.keys, kWidth, 3), out(c.queries, kWidth);
      Matrix lse(c.queries, c.heads.heads);
      for (Matrix* m : {&k, &v}) round_to_bytes(*m, c.heads.heads);
      std::fill(out.values.begin(), out.values.end(), 7.0f);
      std::vector<float> scratch(attention_scratch(c.keys, kWidth));
      const int64_t size = kWidth / c.heads.heads;
      std::vector<double> row;
      for (int64_t head = 0; head < c.heads.heads; ++head) {
        attend(how, c.heads, head, q.view(), of_head(k, c, head), of_head(v, c, head), out.view(),
               lse.view(), scratch.data());
        for (int64_t i = 0; i < c.queries; ++i) {
          const double expected = naive_row(c, head, i, q.view(), k.view(), v.view(), row);
          ASSERT_NEAR(lse(i, head), expected, 1e-5) << i;
          for (int64_t d = 0; d < size; ++d)
            ASSERT_NEAR(out(i, head * size + d), row[d], 1e-5) << i << " " << d;
        }
      }
    }
  }
}

// Widths that no register's divides, and what lies behind the last column.
TEST_P(Attention, AContinuedQueryMatchesDoubleAtOddWidths) {
  for (How how : {How::kContinued, How::kContinuedFromBytes}) {
    for (int64_t d : {1, 8, 24, 64, 72, 130}) {
      for (int64_t keys : {1, 2, 7, 100}) {
        for (int64_t window : {0, 3}) {
          Matrix q = random_matrix(1, d, d), k = random_matrix(keys, d, d + 1);
          Matrix v = random_matrix(keys, d, d + 2), out(1, d), lse(1, 1);
          for (Matrix* m : {&k, &v}) round_to_bytes(*m, 1);
          std::vector<float> scratch(attention_scratch(keys, d));
          const AttentionHeads last{.heads = 1, .query_begin = keys, .window = window};
          attend(how, last, 0, q.view(), k.view(), v.view(), out.view(), lse.view(),
                 scratch.data());
          std::vector<double> expected(d);
          double sum = 0;
          for (int64_t j = window > 0 ? std::max<int64_t>(0, keys - window) : 0; j < keys; ++j) {
            double score = 0;
            for (int64_t i = 0; i < d; ++i)
              score += double(q(0, i)) * k(j, i) / std::sqrt(double(d));
            sum += std::exp(score);
            for (int64_t i = 0; i < d; ++i) expected[i] += std::exp(score) * v(j, i);
          }
          EXPECT_NEAR(lse(0, 0), std::log(sum), 1e-5);
          for (int64_t i = 0; i < d; ++i)
            ASSERT_NEAR(out(0, i), expected[i] / sum, 1e-5) << d << " " << keys << " " << i;
        }
      }
    }
  }
}

TEST_P(Attention, AContinuedQueryIsTheSameWithAndWithoutOthers) {
  for (How how : {How::kContinued, How::kContinuedFromBytes}) {
    for (const AttentionCase& c : kCases) {
      Matrix q = random_matrix(c.queries, kWidth, 1), k = random_matrix(c.keys, kWidth, 2);
      Matrix v = random_matrix(c.keys, kWidth, 3), lse(c.queries, c.heads.heads);
      Matrix together(c.queries, kWidth), alone(1, kWidth), lse_alone(1, c.heads.heads);
      std::vector<float> scratch(attention_scratch(c.keys, kWidth));
      const int64_t size = kWidth / c.heads.heads;
      for (int64_t head = 0; head < c.heads.heads; ++head) {
        const Mat keys = of_head(k, c, head), values = of_head(v, c, head);
        attend(how, c.heads, head, q.view(), keys, values, together.view(), lse.view(),
               scratch.data());
        for (int64_t i = 0; i < c.queries; ++i) {
          AttentionHeads one = c.heads;
          one.query_begin += i;
          const int64_t seen = visible_by_rule(c, i);  // later keys are not there yet
          attend(how, one, head, q.view().row_range(i, 1), keys.row_range(0, seen),
                 values.row_range(0, seen), alone.view(), lse_alone.view(), scratch.data());
          EXPECT_EQ(lse(i, head), lse_alone(0, head)) << i;
          EXPECT_EQ(
              std::memcmp(&together(i, head * size), &alone(0, head * size), sizeof(float) * size),
              0)
              << i << " of " << c.queries << ", head " << head;
        }
      }
    }
  }
}

TEST_P(Attention, WhatAQueryMayNotSeeChangesNothingBitForBit) {
  for (How how : kAll) {
    for (const AttentionCase& c : kCases) {
      Matrix q = random_matrix(c.queries, kWidth, 1), k = random_matrix(c.keys, kWidth, 2);
      Matrix v = random_matrix(c.keys, kWidth, 3), lse(c.queries, c.heads.heads);
      Matrix before(c.queries, kWidth), after(c.queries, kWidth);
      std::vector<float> scratch(attention_scratch(c.keys, kWidth));
      const auto attend_all = [&](Matrix& out) {
        for (int64_t head = 0; head < c.heads.heads; ++head)
          attend(how, c.heads, head, q.view(), of_head(k, c, head), of_head(v, c, head), out.view(),
                 lse.view(), scratch.data());
      };
      attend_all(before);
      const int64_t changed = c.keys / 2;
      for (int64_t d = 0; d < kWidth; ++d) k(changed, d) += 3, v(changed, d) -= 5;
      attend_all(after);
      for (int64_t i = 0; i < c.queries; ++i) {
        const bool sees = first_by_rule(c, i) <= changed && visible_by_rule(c, i) > changed;
        const bool same =
            std::memcmp(before.view().row(i), after.view().row(i), sizeof(float) * kWidth) == 0;
        EXPECT_EQ(same, !sees) << i;
      }
    }
  }
}

TEST_P(Attention, BackwardMatchesDifferences) {
  // L = Σ w · out in double; dL/dx by central differences of the naive forward.
  for (const AttentionCase& c : kCases) {
    if (c.queries > 70) continue;
    const int64_t heads = c.heads.heads, size = kWidth / heads;
    Matrix q = random_matrix(c.queries, kWidth, 1), k = random_matrix(c.keys, kWidth, 2);
    Matrix v = random_matrix(c.keys, kWidth, 3), w = random_matrix(c.queries, kWidth, 4);
    Matrix out(c.queries, kWidth), lse(c.queries, heads);
    Matrix dq(c.queries, kWidth), dk(c.keys, kWidth), dv(c.keys, kWidth);
    for (Matrix* m : {&dq, &dk, &dv}) std::fill(m->values.begin(), m->values.end(), 9.0f);
    std::vector<float> scratch(attention_scratch(c.keys, kWidth));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t block = 0; block * kQueryBlock < c.queries; ++block)
        attention_head(c.heads, head, block, q.view(), of_head(k, c, head), of_head(v, c, head),
                       out.view(), lse.view(), scratch.data());
      attention_head_backward(c.heads, head, q.view(), k.view(), v.view(), lse.view(), w.view(),
                              dq.view(), dk.view(), dv.view(), scratch.data());
    }
    const auto loss = [&] {
      double sum = 0;
      std::vector<double> row;
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t i = 0; i < c.queries; ++i) {
          naive_row(c, head, i, q.view(), k.view(), v.view(), row);
          for (int64_t d = 0; d < size; ++d) sum += w(i, head * size + d) * row[d];
        }
      return sum;
    };
    const auto check = [&](Matrix& x, Matrix& dx, const char* name) {
      Rng rng(8);
      for (int n = 0; n < 25; ++n) {
        const auto i = static_cast<int64_t>(rng.below(x.values.size()));
        const float old = x.values[i];
        const float up = old + 1e-2f, down = old - 1e-2f;
        x.values[i] = up;
        const double above = loss();
        x.values[i] = down;
        const double below = loss();
        x.values[i] = old;
        EXPECT_NEAR(dx.values[i], (above - below) / (double(up) - down), 2e-3) << name << " " << i;
      }
    };
    check(q, dq, "dq");
    check(k, dk, "dk");
    check(v, dv, "dv");
  }
}

}  // namespace
}  // namespace axl
