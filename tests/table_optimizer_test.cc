#include "axl/train/table_optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "axl/base/parallel.h"
#include "testing.h"

namespace axl {
namespace {

constexpr int64_t kWidth = 8, kBytes = 24;
constexpr double kRate = 0.05;

/// Two tables behind a dense matrix. The first has rows that no step uses.
const std::vector<Parameter> kTable = {
    {"dense", Role::kMatrix, {3, 5}, 3, 5, 0},
    {"table.0", Role::kTable, {60, kWidth}, 60, kWidth, 15},
    {"table.1", Role::kTable, {7, kWidth}, 7, kWidth, 15 + 60 * kWidth},
};
constexpr int64_t kUsedRows[] = {0, 50, 7};  // of each parameter: the first ones

/// What a step hands over: bytes read rows at random, some the same ones, some none.
struct Gradient {
  explicit Gradient(int step) : dx(random_matrix(kBytes, kWidth, 100 + step, 0.3)) {
    Rng rng(step);
    for (int t = 0; t < 2; ++t) {
      for (int64_t r = 0; r < kBytes; ++r)
        rows[t].push_back(rng.below(5) == 0 ? -1 : rng.below(kUsedRows[t + 1]));
      pointers[t] = rows[t].data();
    }
  }
  Model::TableGradient view() { return {pointers, dx.view()}; }

  Matrix dx;
  std::vector<int32_t> rows[2];
  int32_t* pointers[2];
};

Matrix start() { return random_matrix(1, parameter_count(kTable), 1); }

/// Steps first .. last − 1.
void run(TableOptimizer& optimizer, Matrix& weights, int first, int last) {
  std::vector<ParameterValues> values;
  for (const Parameter& p : kTable) values.push_back({weights.values.data() + p.offset, nullptr});
  for (int step = first; step < last; ++step) {
    Gradient gradient(step);
    optimizer.update(values, gradient.view(), kRate);
  }
}

/// The dense rule in double: every row of a table has a gradient, most of them zero.
void dense_step(const Parameter& p, const Gradient& gradient, const std::vector<int32_t>& rows,
                std::vector<double>& weights, std::vector<double>& squares) {
  std::vector<double> g(p.size());
  for (int64_t r = 0; r < kBytes; ++r)
    for (int64_t j = 0; j < kWidth && rows[r] >= 0; ++j)
      g[rows[r] * kWidth + j] += gradient.dx.values[r * kWidth + j];
  for (int64_t row = 0; row < p.rows; ++row) {
    double mean = 0;
    for (int64_t j = 0; j < kWidth; ++j) mean += std::pow(g[row * kWidth + j], 2) / kWidth;
    squares[row] += mean;
    for (int64_t j = 0; j < kWidth; ++j)
      weights[p.offset + row * kWidth + j] -=
          kRate * g[row * kWidth + j] / (std::sqrt(squares[row]) + 1e-12);
  }
}

TEST(TableOptimizer, IsTheDenseRuleOverAllRows) {
  constexpr int kSteps = 60;
  Matrix weights = start();
  std::vector<double> expected(weights.values.begin(), weights.values.end());
  std::vector<double> squares[2] = {std::vector<double>(60), std::vector<double>(7)};
  TableOptimizer optimizer(kTable, kBytes);
  for (int step = 0; step < kSteps; ++step) {
    run(optimizer, weights, step, step + 1);
    const Gradient gradient(step);
    for (int t = 0; t < 2; ++t)
      dense_step(kTable[t + 1], gradient, gradient.rows[t], expected, squares[t]);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(weights.values[i], expected[i], 5e-6) << "step " << step << ", weight " << i;
  }
  const std::vector<OptimizerState> state = optimizer.state();
  ASSERT_EQ(state.size(), 1u);
  ASSERT_EQ(state[0].count, 60 + 7);
  for (int64_t row = 0; row < 67; ++row) {
    const double wanted = row < 60 ? squares[0][row] : squares[1][row - 60];
    EXPECT_NEAR(state[0].data[row], wanted, 1e-5 * wanted) << row;
  }
}

TEST(TableOptimizer, LeavesUnusedRowsAndDenseWeightsAsTheyAre) {
  Matrix weights = start();
  TableOptimizer optimizer(kTable, kBytes);
  run(optimizer, weights, 0, 40);
  const Matrix before = start();
  int64_t changed = 0;
  for (size_t p = 0; p < kTable.size(); ++p)
    for (int64_t row = 0; row < kTable[p].rows; ++row) {
      const int64_t at = kTable[p].offset + row * kTable[p].cols;
      const bool same =
          std::memcmp(&weights.values[at], &before.values[at], sizeof(float) * kTable[p].cols) == 0;
      EXPECT_EQ(same, row >= kUsedRows[p]) << kTable[p].name << " row " << row;
      changed += !same;
    }
  EXPECT_EQ(changed, 50 + 7);
}

TEST(TableOptimizer, GivesTheSameBitsOnAnyNumberOfThreads) {
  const int before = num_threads();
  Matrix one = start(), two = start();
  set_num_threads(1);
  TableOptimizer on_one(kTable, kBytes);
  run(on_one, one, 0, 20);
  set_num_threads(2);
  TableOptimizer on_two(kTable, kBytes);
  run(on_two, two, 0, 20);
  set_num_threads(before);
  EXPECT_TRUE(one.values == two.values);
}

TEST(TableOptimizer, GoesOnFromItsState) {
  Matrix straight = start(), stopped = start();
  TableOptimizer whole(kTable, kBytes), first(kTable, kBytes), second(kTable, kBytes);
  run(whole, straight, 0, 20);
  run(first, stopped, 0, 10);
  const OptimizerState from = first.state()[0], to = second.state()[0];
  ASSERT_EQ(from.count, to.count);
  std::memcpy(to.data, from.data, sizeof(float) * from.count);
  run(second, stopped, 10, 20);
  EXPECT_TRUE(straight.values == stopped.values);
}

TEST(TableOptimizer, OfAModelWithoutTablesHasNoState) {
  EXPECT_TRUE(TableOptimizer({kTable[0]}, kBytes).state().empty());
  EXPECT_EQ(TableOptimizer::required_bytes({kTable[0]}, kBytes), 0);
}

}  // namespace
}  // namespace axl
