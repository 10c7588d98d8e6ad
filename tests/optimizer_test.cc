#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "axl/base/error.h"
#include "axl/base/parallel.h"
#include "axl/train/optimizer.h"
#include "temp_dir.h"
#include "testing.h"

namespace axl {
namespace {

/// A model with every role, and matrices tall, wide and square.
std::vector<Parameter> small_table() {
  return parameter_table({.d_model = 16,
                          .n_heads = 2,
                          .d_ff = 24,
                          .n_layers_per_scale = {1},
                          .n_cross_attn_layers = 1,
                          .downsample_factors = {1, 2},
                          .max_seq_len = 8});
}

bool is_matrix(const Parameter& p) {
  return p.role == Role::kMatrix || p.role == Role::kResidualOutput;
}

OptimizerOptions options_of(const std::string& name) {
  return {.name = name, .beta1 = 0.8, .beta2 = 0.95, .momentum = 0.9, .weight_decay = 0.3};
}

constexpr double kRate = 0.02, kGradientScale = 0.7;
constexpr int kSteps = 4;

Matrix gradients_of(int64_t count, int step) {
  Matrix g = random_matrix(1, count, 100 + step, 0.3);
  for (int64_t i = 0; i < count; i += 5) g.values[i] = 0;  // sign(0) is 0
  return g;
}

/// What one element becomes: (weight, gradient, step from 1, memory of two) in double.
using Rule = std::function<void(double& w, double g, int step, double (&m)[2])>;

/// Largest distance of the weights after some steps from those that `rule` gives, over the
/// parameters that `chosen` takes.
double distance(const OptimizerOptions& options, const Rule& rule,
                const std::function<bool(const Parameter&)>& chosen) {
  const std::vector<Parameter> table = small_table();
  const int64_t count = parameter_count(table);
  const auto optimizer = make_optimizer(options, table);
  Matrix weights = random_matrix(1, count, 1);
  const Matrix start = weights;
  std::vector<Matrix> gradients;
  for (int step = 1; step <= kSteps; ++step) {
    gradients.push_back(gradients_of(count, step));
    optimizer->update_all(weights.values.data(), gradients.back().values.data(),
                          {kRate, kGradientScale, step});
  }
  double worst = 0;
  for (const Parameter& p : table) {
    if (!chosen(p)) continue;
    const bool decays = p.role != Role::kGain || options.decay_gains;
    const double keep = decays ? 1.0 - kRate * options.weight_decay : 1.0;
    for (int64_t i = p.offset; i < p.offset + p.size(); ++i) {
      double w = start.values[i], m[2] = {0, 0};
      for (int step = 1; step <= kSteps; ++step) {
        w *= keep;
        rule(w, kGradientScale * gradients[step - 1].values[i], step, m);
      }
      worst = std::max(worst, std::abs(w - weights.values[i]));
    }
  }
  return worst;
}

bool any(const Parameter&) { return true; }

double sign(double x) { return (x > 0) - (x < 0); }

void lion_rule(double& w, double g, int, double (&m)[2]) {
  w -= kRate * sign(0.8 * m[0] + 0.2 * g);
  m[0] = 0.95 * m[0] + 0.05 * g;
}

void adam_rule(double& w, double g, int step, double (&m)[2]) {
  m[0] = 0.8 * m[0] + 0.2 * g;
  m[1] = 0.95 * m[1] + 0.05 * g * g;
  const double mean = m[0] / (1 - std::pow(0.8, step));
  const double square = m[1] / (1 - std::pow(0.95, step));
  w -= kRate * mean / (std::sqrt(square) + 1e-8);
}

void sgd_rule(double& w, double g, int, double (&m)[2]) {
  m[0] = 0.9 * m[0] + g;
  w -= kRate * m[0];
}

TEST(Lion, MatchesItsDefinition) { EXPECT_LT(distance(options_of("lion"), lion_rule, any), 2e-6); }

TEST(AdamW, MatchesItsDefinition) {
  EXPECT_LT(distance(options_of("adamw"), adam_rule, any), 2e-6);
}

TEST(Sgd, MatchesItsDefinition) { EXPECT_LT(distance(options_of("sgd"), sgd_rule, any), 2e-6); }

TEST(Muon, LeavesAllButTheInnerMatricesToAdamW) {
  const auto rest = [](const Parameter& p) { return !is_matrix(p); };
  EXPECT_LT(distance(options_of("muon"), adam_rule, rest), 2e-6);
}

TEST(Optimizers, DecayReachesGainsOnRequestAlone) {
  OptimizerOptions options = options_of("sgd");
  options.decay_gains = true;
  EXPECT_LT(distance(options, sgd_rule, any), 2e-6);
}

TEST(Optimizers, WithoutGradientOnlyMatricesShrink) {
  const std::vector<Parameter> table = small_table();
  const int64_t count = parameter_count(table);
  const Matrix zero(1, count);
  for (const char* name : {"lion", "adamw", "sgd", "muon"}) {
    const auto optimizer = make_optimizer(options_of(name), table);
    Matrix weights(1, count);
    std::fill(weights.values.begin(), weights.values.end(), 1.0f);
    optimizer->update_all(weights.values.data(), zero.values.data(), {0.1, 1.0, 1});
    for (const Parameter& p : table) {
      const float expected = p.role == Role::kGain ? 1.0f : 0.97f;
      for (int64_t i = 0; i < p.size(); ++i)
        ASSERT_NEAR(weights.values[p.offset + i], expected, 1e-6) << name << " " << p.name;
    }
  }
}

TEST(Optimizers, AreIndependentOfTheNumberOfThreads) {
  const std::vector<Parameter> table = parameter_table({.d_model = 64,
                                                        .n_heads = 2,
                                                        .d_ff = 96,
                                                        .n_layers_per_scale = {1},
                                                        .n_cross_attn_layers = 1,
                                                        .downsample_factors = {1, 2},
                                                        .max_seq_len = 8});
  const int64_t count = parameter_count(table);
  const int before = num_threads();
  for (const char* name : {"lion", "adamw", "sgd", "muon"}) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const auto optimizer = make_optimizer(options_of(name), table);
      Matrix weights = random_matrix(1, count, 1);
      for (int step = 1; step <= 2; ++step)
        optimizer->update_all(weights.values.data(), gradients_of(count, step).values.data(),
                              {kRate, 1.0, step});
      if (threads == 1) expected = weights.values;
      EXPECT_TRUE(weights.values == expected) << name << ", " << threads << " threads";
    }
  }
  set_num_threads(before);
}

TEST(Optimizers, StateIsAsLargeAsAnnounced) {
  const std::vector<Parameter> table = small_table();
  for (const char* name : {"lion", "adamw", "sgd", "muon"}) {
    int64_t floats = 0;
    for (const OptimizerState& s : make_optimizer(options_of(name), table)->state())
      floats += s.count;
    EXPECT_EQ(sizeof(float) * floats, optimizer_bytes(name, false, table)) << name;
  }
}

TEST(Optimizers, AnUnknownNameIsRefusedWithTheNearest) {
  EXPECT_HOLDS(message_of<UsageError>([] { make_optimizer(options_of("adamv"), small_table()); }),
               "did you mean 'adamw'?");
}

// ---- Muon ---------------------------------------------------------------------------------------

/// Smallest and largest eigenvalue of x xᵀ, by power iteration on it and on its mirror image.
std::pair<double, double> squared_singular_values(Matrix& x) {
  const int64_t n = x.rows;
  std::vector<double> gram(n * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < x.cols; ++k) gram[i * n + j] += double(x(i, k)) * x(j, k);
  const auto top_of = [&](double shift) {  // largest |eigenvalue| of gram − shift
    Rng rng(5);
    std::vector<double> v(n), w(n);
    for (double& e : v) e = rng.normal();
    double size = 0;
    for (int round = 0; round < 3000; ++round) {
      for (int64_t i = 0; i < n; ++i) {
        w[i] = -shift * v[i];
        for (int64_t j = 0; j < n; ++j) w[i] += gram[i * n + j] * v[j];
      }
      size = 0;
      for (const double e : w) size += e * e;
      size = std::sqrt(size);
      if (size == 0) return 0.0;
      for (int64_t i = 0; i < n; ++i) v[i] = w[i] / size;
    }
    return size;
  };
  const double largest = top_of(0);
  return {largest - top_of(largest), largest};
}

TEST(Muon, OrthogonaliseBringsSingularValuesNearOne) {
  const std::pair<int64_t, int64_t> shapes[] = {{8, 8}, {16, 40}, {24, 100}, {31, 37}, {1, 50}};
  for (const auto& [rows, cols] : shapes) {
    Matrix x = random_matrix(rows, cols, 3, 20.0), y(rows, cols), a(rows, rows), b(rows, rows);
    orthogonalise(x.view(), a.view(), b.view(), y.view());
    const auto [least, most] = squared_singular_values(x);
    // A random square matrix has singular values too small for five steps to lift.
    if (rows * 2 <= cols) {
      EXPECT_GT(std::sqrt(least), 0.5) << rows << " x " << cols;
    }
    EXPECT_LT(std::sqrt(most), 1.5) << rows << " x " << cols;
    EXPECT_GT(std::sqrt(most), 0.6) << rows << " x " << cols;
  }
}

TEST(Muon, OrthogonaliseKeepsTheSingularDirections) {
  // diag(3, 2, 1, 0.5) padded with zeros stays diagonal and positive.
  Matrix x(4, 9), y(4, 9), a(4, 4), b(4, 4);
  const float values[] = {3, 2, 1, 0.5f};
  for (int64_t i = 0; i < 4; ++i) x(i, i) = values[i];
  orthogonalise(x.view(), a.view(), b.view(), y.view());
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 9; ++j) {
      if (i == j)
        EXPECT_NEAR(x(i, j), 1.0, 0.35) << i;
      else
        EXPECT_NEAR(x(i, j), 0.0, 1e-5) << i << " " << j;
    }
}

TEST(Muon, OrthogonaliseLeavesZeroAsItIs) {
  Matrix x(4, 6), y(4, 6), a(4, 4), b(4, 4);
  orthogonalise(x.view(), a.view(), b.view(), y.view());
  for (const float v : x.values) EXPECT_EQ(v, 0.0f);
}

TEST(Muon, UpdatesOfMatricesHaveTheSizeOfAdamWs) {
  // U Vᵀ of a [rows, cols] matrix has RMS 1/√max(rows, cols): the update has 0.2 · lr.
  const std::vector<Parameter> table = small_table();
  const int64_t count = parameter_count(table);
  OptimizerOptions options = options_of("muon");
  options.weight_decay = 0;
  const auto optimizer = make_optimizer(options, table);
  Matrix weights(1, count);
  const Matrix g = random_matrix(1, count, 9, 1e-3);
  optimizer->update_all(weights.values.data(), g.values.data(), {kRate, 1.0, 1});
  for (const Parameter& p : table) {
    if (!is_matrix(p)) continue;
    double squares = 0, towards = 0;
    for (int64_t i = p.offset; i < p.offset + p.size(); ++i) {
      squares += double(weights.values[i]) * weights.values[i];
      towards += double(weights.values[i]) * g.values[i];
    }
    EXPECT_NEAR(std::sqrt(squares / p.size()) / kRate, 0.2, 0.06) << p.name;
    EXPECT_LT(towards, 0) << p.name;  // downhill
  }
}

}  // namespace
}  // namespace axl
