// Training that keeps less: gradients and weights must not know.
#include <gtest/gtest.h>

#include <cstring>

#include "options_testing.h"
#include "testing.h"

namespace axl {
namespace {

constexpr int64_t kSequences = 2, kLength = 43;  // ends within a group of four and of sixteen

/// Loss and gradients of one pass in a mode, over buffers that an earlier pass has left dirty.
struct Pass {
  Pass(const Model& model, Activations::Mode mode, Precision precision)
      : grads(model.config()), a(model.config(), kSequences * kLength, mode) {
    a.scratch.precision = precision;
    a.lay_out(whole_sequences(kSequences, kLength));
    for (const uint64_t seed : {1, 2}) {
      std::vector<int32_t> ids, targets;
      for (int64_t i = 0; i < kSequences; ++i) {
        const std::vector<int32_t> text = repetitive_ids(kLength + 1, 10 * seed + i);
        ids.insert(ids.end(), text.begin(), text.end() - 1);
        targets.insert(targets.end(), text.begin() + 1, text.end());
      }
      targets[3] = -1;
      grads.zero();
      loss = model.forward_backward(ids, targets, 0.5f, a, grads.weights);
    }
  }
  ParameterBlock grads;
  Activations a;
  Model::Loss loss;
};

class Recompute : public testing::TestWithParam<Option> {};

TEST_P(Recompute, GivesTheSameGradientsBitForBit) {
  const Model model = random_model(GetParam().config);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    if (precision == Precision::kBf16 && !has_bf16()) continue;
    const Pass kept(model, Activations::Mode::kTraining, precision);
    const Pass again(model, Activations::Mode::kRecompute, precision);
    EXPECT_EQ(kept.loss.nats, again.loss.nats);
    EXPECT_EQ(kept.loss.fine_nats, again.loss.fine_nats);
    const float *x = kept.grads.memory.floats(), *y = again.grads.memory.floats();
    for (const Parameter& p : dense_part(model.parameters()))
      EXPECT_EQ(std::memcmp(x + p.offset, y + p.offset, sizeof(float) * p.size()), 0) << p.name;
    const ConstMat dx = Model::table_gradient(kept.a).dx, dy = Model::table_gradient(again.a).dx;
    EXPECT_EQ(std::memcmp(dx.data, dy.data, sizeof(float) * dx.size()), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Options, Recompute, testing::ValuesIn([] {
                           std::vector<Option> options = model_options();
                           ModelConfig deep = tiny_config();
                           deep.n_layers_per_scale = {3};
                           deep.n_cross_attn_layers = 2;
                           options.push_back({"deep", deep});
                           ModelConfig plain = tiny_config();
                           plain.downsample_factors = {1};
                           options.push_back({"one_scale", plain});
                           return options;
                         }()),
                         [](const auto& info) { return info.param.name; });

TEST(RecomputeMemory, IsAFractionOfWhatKeepingAllTakes) {
  ModelConfig config = tiny_config();
  config.n_layers_per_scale = {6};
  const Threads few(2);  // each has some room of its own either way
  const auto bytes = [&](Activations::Mode mode) {
    return Activations::required_bytes(config, 256, mode);
  };
  EXPECT_LT(2 * bytes(Activations::Mode::kRecompute), bytes(Activations::Mode::kTraining));
}

}  // namespace
}  // namespace axl
