// Gradients of every layer, and of the whole model, against central differences.
#include <gtest/gtest.h>

#include <functional>

#include "axl/model/model.h"
#include "testing.h"

namespace axl {
namespace {

// L = Σ weight · f(x) has the gradient that backward gives for dy = weight. Compares it with
// (L(x + h) − L(x − h)) / 2h for every element.
void expect_gradient(Mat x, const Mat& gradient, const std::function<double()>& loss,
                     const char* what) {
  const float h = 1e-2f;
  std::vector<float> numeric(x.size());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float value = x.data[i];
    x.data[i] = value + h;
    const double up = loss();
    x.data[i] = value - h;
    const double down = loss();
    x.data[i] = value;
    numeric[i] = static_cast<float>((up - down) / (2.0 * h));
  }
  EXPECT_LT(relative_error(gradient.data, numeric.data(), x.size()), 2e-3) << what;
}

double weighted_sum(ConstMat y, ConstMat weight) {
  double sum = 0;
  for (int64_t r = 0; r < y.rows; ++r)
    for (int64_t c = 0; c < y.cols; ++c) sum += double(y(r, c)) * weight(r, c);
  return sum;
}

TEST(Linear, BackwardMatchesFiniteDifference) {
  Matrix x = random_matrix(7, 5, 1), w = random_matrix(3, 5, 2), y(7, 3);
  Matrix dy = random_matrix(7, 3, 3), dx(7, 5), dw(3, 5);
  const Linear layer{w.view()};
  const auto loss = [&] {
    layer.forward(x.view(), y.view(), Precision::kF32);
    return weighted_sum(y.view(), dy.view());
  };
  layer.backward(x.view(), dy.view(), dx.view(), Write::kAssign, {dw.view()}, Precision::kF32);
  expect_gradient(x.view(), dx.view(), loss, "x");
  expect_gradient(w.view(), dw.view(), loss, "weight");
}

TEST(RmsNorm, BackwardMatchesFiniteDifference) {
  Matrix x = random_matrix(9, 6, 1), gain = random_matrix(1, 6, 2), y(9, 6), rstd(9, 1);
  Matrix dy = random_matrix(9, 6, 3), dx(9, 6), dgain(1, 6), partials(kPartials, 6);
  const auto loss = [&] {
    rms_norm(x.view(), gain.view(), 1e-5f, y.view(), rstd.values.data());
    return weighted_sum(y.view(), dy.view());
  };
  loss();
  rms_norm_backward(x.view(), gain.view(), rstd.values.data(), dy.view(), dx.view(), dgain.view(),
                    partials.view());
  expect_gradient(x.view(), dx.view(), loss, "x");
  expect_gradient(gain.view(), dgain.view(), loss, "gain");
}

TEST(SwiGlu, BackwardMatchesFiniteDifference) {
  Matrix gate_up = random_matrix(5, 8, 1), act(5, 4), d_act = random_matrix(5, 4, 2), d(5, 8);
  const auto loss = [&] {
    swiglu(gate_up.view(), act.view());
    return weighted_sum(act.view(), d_act.view());
  };
  Matrix act_again = d_act;
  swiglu_backward(gate_up.view(), act_again.view(), d.view());
  expect_gradient(gate_up.view(), d.view(), loss, "gate_up");
}

TEST(Rope, InverseUndoesIt) {
  Matrix x = random_matrix(6, 8, 1), cos(40, 2), sin(40, 2);
  const RopeTable table{cos.view(), sin.view()};
  fill_rope_table(10000.0, table);
  const Matrix original = x;
  rope(x.view(), table, 3, 4, false);
  EXPECT_GT(relative_error(x.values.data(), original.values.data(), x.rows * x.cols), 0.1);
  rope(x.view(), table, 3, 4, true);
  EXPECT_LT(relative_error(x.values.data(), original.values.data(), x.rows * x.cols), 1e-6);
}

TEST(CrossEntropy, BackwardMatchesFiniteDifference) {
  Matrix logits = random_matrix(4, 11, 1, 2.0), nll(4, 1);
  const std::vector<int32_t> targets{3, -1, 10, 0};
  const auto loss = [&] {
    cross_entropy(logits.view(), targets, nll.values.data());
    return 0.5 * (nll.values[0] + nll.values[1] + nll.values[2] + nll.values[3]);
  };
  Matrix gradient = logits;
  cross_entropy_backward(gradient.view(), targets, 0.5f, nll.values.data());
  expect_gradient(logits.view(), gradient.view(), loss, "logits");
  for (int64_t c = 0; c < 11; ++c) EXPECT_EQ(gradient(1, c), 0.0f);
}

TEST(CrossEntropy, NanAndInfinityAreNotHidden) {
  const std::vector<int32_t> target{0};
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Matrix logits = random_matrix(1, 258, 1), nll(1, 1);
    logits(0, 100) = bad;
    cross_entropy(logits.view(), target, nll.values.data());
    EXPECT_FALSE(std::isfinite(nll.values[0])) << bad;
  }
}

// The whole model, for shapes where off-by-one errors live: lengths that are no multiple of the
// factors, factors that do not divide each other, one scale, two cross-scale layers, batches.
struct Shape {
  std::vector<int64_t> factors;
  int64_t layers, cross, batch, length;
};
class ModelGradient : public testing::TestWithParam<Shape> {};

TEST_P(ModelGradient, MatchesFiniteDifference) {
  const Shape shape = GetParam();
  ModelConfig config{.d_model = 8, .n_heads = 2, .d_ff = 12};
  config.n_layers_per_scale = {shape.layers};
  config.n_cross_attn_layers = shape.cross;
  config.downsample_factors = shape.factors;
  config.max_seq_len = 128;
  Model model(config);
  Rng rng(7);
  for (int64_t i = 0; i < model.parameter_count(); ++i)
    model.data()[i] += static_cast<float>(0.3 * rng.normal());
  const int64_t rows = shape.batch * shape.length;
  std::vector<int32_t> ids(rows), targets(rows);
  for (int64_t i = 0; i < rows; ++i) ids[i] = rng.below(kVocab), targets[i] = rng.below(kVocab);
  targets[rows / 2] = -1;

  Activations a(config, rows, Activations::Mode::kTraining);
  a.lay_out(whole_sequences(shape.batch, shape.length));
  ParameterBlock grads(config), scratch(config);
  const float fine_weight = 0.3f;
  model.forward_backward(ids, targets, fine_weight, a, grads.weights);
  const auto loss = [&] {
    return model.forward_backward(ids, targets, fine_weight, a, scratch.weights).total(fine_weight);
  };
  // Along one random direction per tensor: a mistake anywhere in it shows.
  for (const Parameter& p : model.parameters()) {
    float* values = model.data() + p.offset;
    const float* grad = grads.memory.floats() + p.offset;
    std::vector<float> direction(p.size()), original(values, values + p.size());
    double analytic = 0, norm = 0;
    for (int64_t i = 0; i < p.size(); ++i) {
      direction[i] = static_cast<float>(rng.normal());
      analytic += double(direction[i]) * grad[i];
      norm += double(grad[i]) * grad[i];
    }
    const float h = 2e-3f;
    const auto moved = [&](float by) {
      for (int64_t i = 0; i < p.size(); ++i) values[i] = original[i] + by * direction[i];
      return loss();
    };
    const double numeric = (moved(h) - moved(-h)) / (2.0 * h);
    std::copy(original.begin(), original.end(), values);
    EXPECT_NEAR(analytic, numeric, 5e-3 * std::sqrt(norm) + 3e-4) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ModelGradient,
                         testing::Values(Shape{{1, 2, 4}, 1, 1, 2, 11},
                                         Shape{{1, 3, 4}, 1, 2, 1, 13}, Shape{{1}, 2, 1, 2, 7},
                                         Shape{{1, 8}, 1, 1, 1, 5},
                                         Shape{{1, 4, 16}, 1, 1, 1, 70}));

}  // namespace
}  // namespace axl
