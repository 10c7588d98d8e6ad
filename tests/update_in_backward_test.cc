// Updating each layer within backward must give the weights of the ordinary order, and lose no
// state that was saved when it diverges.
#include <gtest/gtest.h>

#include <cmath>

#include "axl/base/error.h"
#include "axl/model/checkpoint.h"
#include "axl/train/run_state.h"
#include "train_testing.h"

namespace axl {
namespace {

/// One saved file for one string of bytes: weights and state after a run.
struct Outcome {
  std::string model, state;
  std::vector<double> norms;
};

class UpdateInBackward : public testing::TestWithParam<const char*> {
 protected:
  static Config config_of(const std::string& optimizer) {
    Config config = memory_config(optimizer);
    config.train.grad_clip = 0;
    config.train.weight_decay = 0.3;
    return config;
  }
  Outcome run(Config config, bool in_backward) {
    config.train.update_in_backward = in_backward;
    const auto out = run_dir(dir_, in_backward ? "in_backward" : "ordinary");
    Outcome outcome;
    TrainCallbacks call;
    call.on_step = [&](const StepReport& r) { outcome.norms.push_back(r.gradient_norm); };
    Trainer trainer(config, corpus_, nullptr);
    trainer.run(out, call);
    outcome.model = get(out / kModelFile);
    std::vector<float> all(trainer.model().data(),
                           trainer.model().data() + trainer.model().parameter_count());
    outcome.state.assign(reinterpret_cast<const char*>(all.data()), sizeof(float) * all.size());
    return outcome;
  }

  TempDir dir_;
  Corpus corpus_ = corpus_of_documents(dir_, {sample_text(20), sample_text(30), sample_text(25)});
};

TEST_P(UpdateInBackward, GivesTheWeightsOfTheOrdinaryOrderBitForBit) {
  for (const double fine_loss_weight : {0.0, 0.5}) {
    for (const bool recompute : {false, true}) {
      Config config = config_of(GetParam());
      config.train.fine_loss_weight = fine_loss_weight;
      const Outcome expected = run(config, false);
      config.train.recompute = recompute;
      const Outcome found = run(config, true);
      EXPECT_TRUE(found.model == expected.model) << fine_loss_weight << recompute;
      EXPECT_TRUE(found.state == expected.state) << fine_loss_weight << recompute;
      ASSERT_EQ(found.norms.size(), 8u);
      for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(found.norms[i] / expected.norms[i], 1, 1e-9) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, UpdateInBackward,
                         testing::Values("lion", "adamw", "sgd", "muon"),
                         [](const auto& info) { return std::string(info.param); });

TEST(BackwardParts, CoverTheDenseParametersInOrder) {
  for (const Config& config : {tiny_config(), memory_config()}) {
    const std::vector<Parameter> table = parameter_table(config.model);
    int64_t next = 0;
    for (const ParameterRange part : backward_parts(Weights(config.model))) {
      EXPECT_EQ(part.first, next);
      EXPECT_GT(part.end, part.first);
      next = part.end;
    }
    EXPECT_EQ(next, static_cast<int64_t>(dense_part(table).size()));
  }
}

TEST(UpdatingInBackward, HoldsTheGradientsOfOneLayer) {
  Config config = tiny_config();
  config.model.n_layers_per_scale = {8};
  const int64_t all = gradient_floats(config.model, config.train);
  config.train.update_in_backward = true;
  EXPECT_LT(10 * gradient_floats(config.model, config.train), all);
}

TEST(UpdatingInBackward, RefusesClippingByTheGlobalNorm) {
  Config config = tiny_config();
  config.train.update_in_backward = true;
  EXPECT_HOLDS(message_of<UsageError>([&] { config.validate(); }), "set train.grad_clip to 0");
  config.train.grad_clip = 0;
  EXPECT_NO_THROW(config.validate());
}

TEST(UpdatingInBackward, DivergenceStopsAndKeepsTheLastState) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = tiny_config();
  config.train.update_in_backward = true;
  config.train.grad_clip = 0;
  const auto out = run_dir(dir, "out");
  Trainer good(config, corpus, nullptr);
  good.run(out, stop_after(good, 3));
  const std::string state = get(out / kStateFile), model = get(out / kModelFile);

  Trainer bad(config, corpus, nullptr);
  ASSERT_TRUE(bad.resume(out));
  Model huge(config.model);
  std::fill_n(huge.data(), huge.parameter_count(), 1e30f);
  bad.start_from(huge);
  EXPECT_HOLDS(message_of<Diverged>([&] { bad.run(out, {}); }), "diverged at step 4");
  EXPECT_TRUE(get(out / kStateFile) == state);
  EXPECT_TRUE(get(out / kModelFile) == model);
  Trainer again(config, corpus, nullptr);
  EXPECT_TRUE(again.resume(out));
  EXPECT_TRUE(same_weights(again.model(), good.model()));
}

// Of a model whose states are all 0, only the gradient of the embedding overflows, the last that
// backward reaches; all else has been updated by then.
TEST(UpdatingInBackward, NoticesAGradientThatIsNotFiniteInTheLastLayer) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = tiny_config();
  config.train.update_in_backward = true;
  config.train.grad_clip = 0;
  Model steep(config.model);
  steep.init(0);
  for (const Parameter& p : steep.parameters()) {
    float* values = steep.data() + p.offset;
    if (p.name.starts_with("down.")) std::fill_n(values, p.size(), 3e38f);
    if (p.name == "tok_embd.weight") std::fill_n(values, p.size(), 0.0f);
    if (p.name == "out_norm.weight") std::fill_n(values, p.size(), 1e9f);
  }
  const auto out = run_dir(dir, "out");
  Trainer trainer(config, corpus, nullptr);
  trainer.start_from(steep);
  EXPECT_HOLDS(message_of<Diverged>([&] { trainer.run(out, {}); }), "a gradient is not finite");
  EXPECT_FALSE(std::filesystem::exists(out / kStateFile));
  EXPECT_FALSE(same_weights(trainer.model(), steep)) << "it was noticed before any update";
}

}  // namespace
}  // namespace axl
