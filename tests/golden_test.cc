// The model against golden vectors that a PyTorch implementation of the same definition computed in
// float64: logits, fine logits, gate weights, loss, every gradient, weights after three steps.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "axl/formats/safetensors.h"
#include "axl/model/model.h"
#include "axl/train/optimizer.h"
#include "testing.h"

namespace axl {
namespace {

class Golden : public testing::TestWithParam<std::string> {
 protected:
  Golden()
      : file_(std::filesystem::path(AXL_TEST_DIR) / "golden" / (GetParam() + ".safetensors")),
        model_(model_config_from_json(file_.metadata().at("axl_config"), GetParam())),
        grads_(model_.config()),
        activations_(model_.config(), batch() * length(), Activations::Mode::kTraining) {
    for (const Parameter& p : model_.parameters())
      file_.read_floats("w." + p.name, p.shape, model_.data() + p.offset);
    activations_.lay_out(whole_sequences(batch(), length()));
    ids_ = integers("ids");
    targets_ = integers("targets");
  }

  int64_t batch() const { return file_.tensor("ids").shape[0]; }
  int64_t length() const { return file_.tensor("ids").shape[1]; }

  std::vector<int32_t> integers(const std::string& name) const {
    const SafetensorsFile::Tensor& t = file_.tensor(name);
    std::vector<int64_t> wide(t.elements());
    std::memcpy(wide.data(), t.bytes.data(), t.bytes.size());
    return {wide.begin(), wide.end()};
  }

  std::vector<float> floats(const std::string& name) const {
    const SafetensorsFile::Tensor& t = file_.tensor(name);
    std::vector<float> values(t.elements());
    file_.read_floats(name, t.shape, values.data());
    return values;
  }

  void expect_near(const std::string& name, Mat actual) {
    const std::vector<float> expected = floats(name);
    ASSERT_EQ(actual.size(), static_cast<int64_t>(expected.size())) << name;
    EXPECT_LT(relative_error(actual.data, expected.data(), actual.size()), 1e-4) << name;
  }

  Model::Loss step() {
    grads_.zero();
    return model_.forward_backward(ids_, targets_, 0.0f, activations_, grads_.weights);
  }

  SafetensorsFile file_;
  Model model_;
  ParameterBlock grads_;
  Activations activations_;
  std::vector<int32_t> ids_, targets_;
};

TEST_P(Golden, ParameterNamesAndShapes) {
  size_t count = 0;
  for (const auto& [name, tensor] : file_.tensors()) count += name.rfind("w.", 0) == 0;
  EXPECT_EQ(count, model_.parameters().size());
  for (const Parameter& p : model_.parameters())
    EXPECT_EQ(file_.tensor("w." + p.name).shape, p.shape) << p.name;
}

TEST_P(Golden, LogitsAndGateWeights) {
  const int64_t rows = batch() * length();
  model_.forward(ids_, activations_);
  model_.logits(activations_);
  expect_near("logits", activations_.logits.row_range(0, rows));
  model_.fine_logits(activations_);
  expect_near("fine_logits", activations_.logits.row_range(0, rows));
  if (model_.config().n_scales() > 1)
    expect_near("alpha", activations_.fusion.alpha.row_range(0, rows));
}

TEST_P(Golden, InferenceBuffersGiveTheSameLogits) {
  Activations inference(model_.config(), batch() * length(), Activations::Mode::kInference);
  inference.lay_out(whole_sequences(batch(), length()));
  model_.forward(ids_, inference);
  model_.logits(inference);
  expect_near("logits", inference.logits);
  model_.fine_logits(inference);
  expect_near("fine_logits", inference.logits);
}

TEST_P(Golden, Loss) { EXPECT_NEAR(step().nats, floats("loss")[0], 1e-5 * floats("loss")[0]); }

TEST_P(Golden, EveryGradient) {
  step();
  for (const Parameter& p : model_.parameters()) {
    Mat grad(grads_.memory.floats() + p.offset, p.rows, p.cols);
    const std::vector<float> expected = floats("grad." + p.name);
    if (*std::max_element(expected.begin(), expected.end()) == 0 &&
        *std::min_element(expected.begin(), expected.end()) == 0) {
      for (int64_t i = 0; i < grad.size(); ++i) ASSERT_EQ(grad.data[i], 0.0f) << p.name;
    } else {
      expect_near("grad." + p.name, grad);
    }
  }
}

// Adam divides by the root of its second moment: where a gradient all but cancels, its sign, and
// with it the whole first step, is rounding. Such elements may differ by their steps; nothing else
// may.
TEST_P(Golden, ThreeAdamWSteps) {
  auto adamw = make_optimizer(
      {.name = "adamw", .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .decay_gains = true},
      model_.parameters());
  for (int i = 1; i <= 3; ++i) {
    step();
    adamw->update_all(model_.data(), grads_.memory.floats(), {1e-3, 1.0, i});
  }
  int64_t cancelled = 0;
  for (const Parameter& p : model_.parameters()) {
    const std::vector<float> expected = floats("adamw." + p.name), grad = floats("grad." + p.name);
    float largest = 0;
    for (float v : expected) largest = std::max(largest, std::abs(v));
    for (int64_t i = 0; i < p.size(); ++i) {
      const float difference = std::abs(model_.data()[p.offset + i] - expected[i]);
      if (difference <= 1e-4f * largest) continue;
      ++cancelled;
      ASSERT_LT(difference, 6.1e-3) << p.name << " element " << i;
      ASSERT_LT(std::abs(grad[i]), 1e-6) << p.name << " element " << i;
    }
  }
  EXPECT_LT(cancelled, model_.parameter_count() / 1000);
}

// A sign update: where momentum and gradient all but cancel, float32 may take the other sign.
TEST_P(Golden, ThreeLionSteps) {
  auto lion = make_optimizer(
      {.name = "lion", .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1, .decay_gains = true},
      model_.parameters());
  for (int i = 1; i <= 3; ++i) {
    step();
    lion->update_all(model_.data(), grads_.memory.floats(), {1e-3, 1.0, i});
  }
  int64_t flipped = 0;
  for (const Parameter& p : model_.parameters()) {
    const std::vector<float> expected = floats("lion." + p.name);
    for (int64_t i = 0; i < p.size(); ++i) {
      const float difference = std::abs(model_.data()[p.offset + i] - expected[i]);
      flipped += difference > 1e-5;
      ASSERT_LT(difference, 6.1e-3) << p.name;
    }
  }
  EXPECT_LT(flipped, model_.parameter_count() / 1000);
}

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         testing::Values("tiny", "two_scales_two_cross", "plain", "short"));

}  // namespace
}  // namespace axl
