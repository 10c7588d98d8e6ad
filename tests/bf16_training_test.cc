// Momentum and matrices in bf16: what is rounded how, and that runs repeat.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "axl/base/error.h"
#include "axl/formats/safetensors.h"
#include "axl/model/checkpoint.h"
#include "axl/tensor/half.h"
#include "axl/train/run_state.h"
#include "train_testing.h"

namespace axl {
namespace {

Config bf16_config(const std::string& optimizer) {
  Config config = memory_config(optimizer);
  config.train.momentum_dtype = config.train.weights_dtype = "bf16";
  return config;
}

std::string values_of(const Model& model) {
  const auto f32 = model.f32_values();
  const auto bf16 = model.bf16_values();
  std::string all(reinterpret_cast<const char*>(f32.data()), f32.size_bytes());
  return all.append(reinterpret_cast<const char*>(bf16.data()), bf16.size_bytes());
}

class Bf16Training : public testing::TestWithParam<const char*> {
 protected:
  TempDir dir_;
  Corpus corpus_ = corpus_of_documents(dir_, {sample_text(20), sample_text(30), sample_text(25)});
};

TEST_P(Bf16Training, LearnsARepeatedText) {
  std::string text;
  while (text.size() < 4000) text += "the cat sat on the mat.\n";
  const Corpus corpus = corpus_of(dir_, "a.py", text);
  Config config = tiny_config(GetParam());
  config.train.momentum_dtype = config.train.weights_dtype = "bf16";
  config.train.lr = std::string(GetParam()) == "sgd" ? 0.3 : 5e-3;
  config.train.steps = 150;
  config.train.batch_size = 4;
  Trainer trainer(config, corpus, nullptr);
  EXPECT_LT(trainer.train({}).loss, 0.9);
}

TEST_P(Bf16Training, DoesNotDependOnThreadsNorOnTheOrderOfUpdates) {
  Config config = bf16_config(GetParam());
  config.model.d_model = 64;  // matrices in several chunks
  config.model.d_ff = 520;
  config.train.grad_clip = 0;
  config.train.steps = 3;
  const int before = num_threads();
  std::string expected;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    config.train.update_in_backward = config.train.recompute = threads == 2;
    Trainer trainer(config, corpus_, nullptr);
    trainer.train({});
    if (threads == 1) expected = values_of(trainer.model());
    EXPECT_TRUE(values_of(trainer.model()) == expected) << threads << " threads";
  }
  set_num_threads(before);
}

TEST_P(Bf16Training, ResumesBitForBit) {
  const Config config = bf16_config(GetParam());
  Trainer straight(config, corpus_, nullptr);
  straight.run(run_dir(dir_, "straight"), {});
  for (const int64_t at : {1, 5}) {
    const auto out = run_dir(dir_, "at" + std::to_string(at));
    Trainer first(config, corpus_, nullptr);
    first.run(out, stop_after(first, at));
    Trainer resumed(config, corpus_, nullptr);
    ASSERT_TRUE(resumed.resume(out));
    EXPECT_TRUE(values_of(resumed.model()) == values_of(first.model()));
    resumed.run(out, {});
    EXPECT_TRUE(values_of(resumed.model()) == values_of(straight.model()));
    EXPECT_TRUE(get(out / kModelFile) == get(dir_ / "straight/model.safetensors")) << at;
  }
}

TEST_P(Bf16Training, RefusesToResumeInAnotherType) {
  const auto out = run_dir(dir_, "run");
  Config config = bf16_config(GetParam());
  Trainer(config, corpus_, nullptr).run(out, {});
  for (std::string* dtype : {&config.train.weights_dtype, &config.train.momentum_dtype}) {
    *dtype = "f32";
    Trainer trainer(config, corpus_, nullptr);
    EXPECT_HOLDS(message_of<Error>([&] { trainer.resume(out); }), "_dtype=bf16");
    *dtype = "bf16";
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, Bf16Training, testing::Values("lion", "sgd"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Bf16Weights, AreSavedAsTheyAreAndTheSmallParametersInF32) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  const auto out = run_dir(dir, "run");
  Trainer trainer(bf16_config("lion"), corpus, nullptr);
  trainer.run(out, {});
  const SafetensorsFile file(out / kModelFile);
  const Model loaded = load_model(out);
  const Model& model = trainer.model();
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& p = model.parameters()[i];
    const bool bf16 = may_be_bf16(p.role) || p.role == Role::kTable;
    EXPECT_EQ(file.tensor(p.name).dtype, bf16 ? DType::kBF16 : DType::kF32) << p.name;
    if (!may_be_bf16(p.role)) continue;
    for (int64_t j = 0; j < p.size(); ++j)
      ASSERT_EQ(loaded.data()[p.offset + j], from_bf16(model.values()[i].bf16[j])) << p.name;
  }
}

// The model computes what a model in f32 with the same, rounded values does.
TEST(Bf16Weights, GiveTheGradientsOfTheSameValuesInF32BitForBit) {
  ModelConfig config = memory_config().model;
  config.n_layers_per_scale = {2};
  Model model(config), widened(config), halved(config, ElementType::kBF16);
  model.init(3);
  halved.assign(model);
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& p = model.parameters()[i];
    for (int64_t j = 0; j < p.size(); ++j)
      widened.data()[p.offset + j] =
          may_be_bf16(p.role) ? from_bf16(halved.values()[i].bf16[j]) : model.data()[p.offset + j];
  }
  std::vector<int32_t> ids(2 * config.max_seq_len), targets(ids.size());
  Rng rng(1);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(256));
  for (int32_t& id : targets) id = static_cast<int32_t>(rng.below(256));
  const auto gradients = [&](const Model& m, ElementType type, Activations::Mode mode) {
    Activations a(config, std::ssize(ids), mode, type);
    a.lay_out(whole_sequences(2, config.max_seq_len));
    ParameterBlock grads(config);
    m.forward_backward(ids, targets, 0.5f, a, grads.weights);
    return std::vector<float>(grads.memory.floats(), grads.memory.floats() + grads.count);
  };
  for (const auto mode : {Activations::Mode::kTraining, Activations::Mode::kRecompute})
    EXPECT_EQ(gradients(widened, ElementType::kF32, mode),
              gradients(halved, ElementType::kBF16, mode));
}

TEST(StochasticRounding, HasTheNumberAsItsMean) {
  for (const float x : {1.0f, 1.003f, -3.1415927f, 1e-30f, 0.0f, -65504.7f}) {
    double sum = 0;
    for (uint32_t noise = 0; noise < 65536; ++noise) {
      const float y = from_bf16(to_bf16(x, noise));
      sum += y;
      ASSERT_LE(std::abs(y - x), std::abs(x) / 128);
    }
    EXPECT_EQ(static_cast<float>(sum / 65536), x);
  }
  for (uint32_t noise : {0u, 0xFFFFu}) EXPECT_TRUE(std::isinf(from_bf16(to_bf16(INFINITY, noise))));
}

// Steps far below the last bit of a weight: rounding to the nearest would never move it.
TEST(StochasticRounding, LetsSmallStepsAddUp) {
  const ModelConfig config = tiny_config().model;
  const std::vector<Parameter> table = parameter_table(config);
  Model model(config, ElementType::kBF16);
  for (uint16_t& w : model.bf16_values()) w = to_bf16(1.0f);
  for (const bool bf16_momentum : {false, true}) {
    const auto optimizer = make_optimizer(
        {.name = "sgd", .momentum = 0, .bf16_momentum = bf16_momentum, .seed = 5}, table);
    const std::vector<float> g(parameter_count(table), -1.0f);
    double before = 0, after = 0;
    for (const uint16_t w : model.bf16_values()) before += from_bf16(w);
    constexpr int kSteps = 100;
    for (int step = 1; step <= kSteps; ++step)
      optimizer->update({{0, std::ssize(table)}, model.values(), g.data()},
                        {.lr = 1e-4, .step = step});
    for (const uint16_t w : model.bf16_values()) after += from_bf16(w);
    const double count = double(model.bf16_values().size());
    // The mean of so many, each with a deviation of about √(100 · 1e-4 · 2^-7).
    EXPECT_NEAR((after - before) / count, kSteps * 1e-4, 6 * 0.009 / std::sqrt(count));
  }
}

TEST(StochasticRounding, LetsMomentumDecay) {
  const std::vector<Parameter> table = parameter_table(tiny_config().model);
  const auto optimizer =
      make_optimizer({.name = "lion", .beta2 = 0.999, .bf16_momentum = true, .seed = 5}, table);
  const OptimizerState moment = optimizer->state()[0];
  std::fill_n(moment.bf16, moment.count, to_bf16(1.0f));
  std::vector<float> w(moment.count), g(moment.count);
  for (int step = 1; step <= 500; ++step)
    optimizer->update_all(w.data(), g.data(), {.lr = 0, .step = step});
  double mean = 0;
  for (int64_t i = 0; i < moment.count; ++i) mean += from_bf16(moment.bf16[i]) / moment.count;
  EXPECT_NEAR(mean, std::pow(0.999, 500), 0.005);
}

TEST(Bf16State, IsRefusedWhereTheOptimizerHasNone) {
  for (const char* optimizer : {"adamw", "muon"}) {
    Config config = tiny_config(optimizer);
    config.train.momentum_dtype = "bf16";
    EXPECT_HOLDS(message_of<UsageError>([&] { config.validate(); }), optimizer);
    config.train.momentum_dtype = "f32";
    config.train.weights_dtype = "bf16";
    EXPECT_HOLDS(message_of<UsageError>([&] { config.validate(); }), "train.weights_dtype");
  }
}

TEST(Bf16State, NeverSavesWeightsThatOverflowed) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = bf16_config("lion");
  config.train.lr = 100;
  config.train.weight_decay = 10;
  config.train.warmup_steps = 0;
  config.train.schedule = "constant";
  config.train.steps = 30;
  config.train.checkpoint_every = 1;
  const auto out = run_dir(dir, "out");
  Trainer trainer(config, corpus, nullptr);
  EXPECT_HOLDS(message_of<Diverged>([&] { trainer.run(out, {}); }), "diverged");
  Trainer again(config, corpus, nullptr);
  EXPECT_TRUE(again.resume(out));
  EXPECT_NO_THROW(load_model(out));
}

}  // namespace
}  // namespace axl
