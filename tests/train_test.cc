#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "axl/base/error.h"
#include "axl/base/parallel.h"
#include "axl/base/tokens.h"
#include "axl/infer/perplexity.h"
#include "axl/model/checkpoint.h"
#include "axl/train/holdout.h"
#include "axl/train/run_state.h"
#include "axl/train/schedule.h"
#include "train_testing.h"

namespace axl {
namespace {

// ---- Schedule -----------------------------------------------------------------------------------

TEST(Schedule, WarmsUpLinearlyToThePeak) {
  const Schedule s{.peak = 0.5, .warmup_steps = 10, .cosine = false};
  EXPECT_DOUBLE_EQ(s.learning_rate(0, 0), 0.05);
  EXPECT_DOUBLE_EQ(s.learning_rate(4, 0.2), 0.25);
  EXPECT_DOUBLE_EQ(s.learning_rate(9, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(s.learning_rate(1000, 1.0), 0.5);
}

TEST(Schedule, CosineFallsToItsMinimumWhicheverLimitComesFirst) {
  const Schedule s{.peak = 2.0, .warmup_steps = 0, .cosine = true, .min_ratio = 0.1};
  const RunLimits limits{.steps = 100, .seconds = 60};
  EXPECT_DOUBLE_EQ(s.learning_rate(0, limits.progress(0, 0)), 2.0);
  EXPECT_NEAR(s.learning_rate(100, limits.progress(100, 3)), 0.2, 1e-12);  // by steps
  EXPECT_NEAR(s.learning_rate(5, limits.progress(5, 60)), 0.2, 1e-12);     // by time
  EXPECT_NEAR(s.learning_rate(50, limits.progress(50, 0)), 1.1, 1e-12);    // half way
  double last = 3;
  for (int step = 0; step <= 100; ++step) {
    const double lr = s.learning_rate(step, limits.progress(step, 0));
    EXPECT_LT(lr, last);
    last = lr;
  }
}

TEST(RunLimits, ProgressIsOneAtTheFirstLimitAndNeverMore) {
  EXPECT_EQ((RunLimits{.steps = 10, .seconds = 0}).progress(10, 1e9), 1.0);
  EXPECT_EQ((RunLimits{.steps = 10, .seconds = 0}).progress(25, 0), 1.0);
  EXPECT_EQ((RunLimits{.steps = 0, .seconds = 8}).progress(1000000, 4), 0.5);
  EXPECT_EQ((RunLimits{.steps = 10, .seconds = 8}).progress(1, 4), 0.5);
  EXPECT_EQ((RunLimits{}).progress(1000, 1000), 0.0);
}

// ---- Trainer ------------------------------------------------------------------------------------

TEST(Trainer, TheSameSeedGivesTheSameWeightsAndAnotherSeedOthers) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = tiny_config();
  Trainer first(config, corpus, nullptr), second(config, corpus, nullptr);
  first.run(run_dir(dir, "first"), {});
  second.run(run_dir(dir, "second"), {});
  EXPECT_TRUE(same_weights(first.model(), second.model()));
  EXPECT_EQ(get(dir / "first/model.safetensors"), get(dir / "second/model.safetensors"));

  config.train.seed = 8;
  Trainer third(config, corpus, nullptr);
  third.run(run_dir(dir, "third"), {});
  EXPECT_FALSE(same_weights(first.model(), third.model()));
}

class ThreadCounts : public testing::TestWithParam<const char*> {};

TEST_P(ThreadCounts, DoNotChangeTheWeights) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(200));
  Config config = tiny_config(GetParam());
  config.model.d_model = 64;  // large enough for products in several tiles
  config.model.d_ff = 160;
  config.model.max_seq_len = 64;
  config.train.batch_size = 8;
  config.train.steps = 3;
  config.train.fine_loss_weight = 0.5;
  const int before = num_threads();
  std::string expected;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const auto out = run_dir(dir, std::to_string(threads));
    Trainer(config, corpus, nullptr).run(out, {});
    const std::string model = get(out / kModelFile);
    if (threads == 1) expected = model;
    EXPECT_TRUE(model == expected) << threads << " threads";
  }
  set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Optimizers, ThreadCounts, testing::Values("lion", "adamw", "sgd", "muon"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Trainer, LearnsARepeatedText) {
  const TempDir dir;
  std::string text;
  while (text.size() < 4000) text += "the cat sat on the mat.\n";
  const Corpus corpus = corpus_of(dir, "a.py", text);
  for (const char* optimizer : {"lion", "adamw", "sgd", "muon"}) {
    Config config = tiny_config(optimizer);
    config.train.lr = std::string(optimizer) == "sgd"    ? 0.3
                      : std::string(optimizer) == "lion" ? 5e-3
                                                         : 2e-2;
    config.train.steps = 150;
    config.train.batch_size = 4;
    Trainer trainer(config, corpus, nullptr);
    double first = 0, last = 0;
    TrainCallbacks call;
    call.on_step = [&](const StepReport& r) { (r.step == 1 ? first : last) = r.loss; };
    trainer.run(run_dir(dir, optimizer), call);
    EXPECT_NEAR(first, std::log(kVocab), 0.1) << optimizer;  // untrained: about uniform
    EXPECT_LT(last, 0.7) << optimizer;
  }
}

/// One step of what a run is defined as, with nothing of Trainer in it.
struct PlainLoop {
  explicit PlainLoop(const Config& c)
      : model(c.model),
        grads(c.model),
        activations(c.model, c.model.max_seq_len, Activations::Mode::kTraining),
        optimizer(make_optimizer(optimizer_options(c.train), model.parameters())) {
    model.init(c.train.seed);
  }
  double step(const std::vector<int32_t>& ids, const std::vector<int32_t>& targets, double lr) {
    grads.zero();
    activations.lay_out(whole_sequences(1, static_cast<int64_t>(ids.size())));
    const Model::Loss loss = model.forward_backward(ids, targets, 0, activations, grads.weights);
    optimizer->update_all(model.data(), grads.memory.floats(), {lr, 1.0, ++steps});
    return loss.nats;
  }
  Model model;
  ParameterBlock grads;
  Activations activations;
  std::unique_ptr<Optimizer> optimizer;
  int64_t steps = 0;
};

Config single_window_config() {
  Config c = tiny_config();
  c.train.batch_size = 1;
  c.train.warmup_steps = 0;
  c.train.schedule = "constant";
  c.train.grad_clip = 0;
  c.train.precision = "f32";
  c.train.steps = 6;
  return c;
}

TEST(Trainer, OnASingleWindowIsThePlainLoop) {
  const TempDir dir;
  const Config config = single_window_config();
  const std::string text = sample_text(9).substr(0, config.model.max_seq_len - 1);
  const Corpus corpus = corpus_of(dir, "a.py", text);
  ASSERT_EQ(corpus.tokens(), static_cast<uint64_t>(config.model.max_seq_len + 1));
  std::vector<int32_t> ids{kBos}, targets;
  for (const char byte : text) {
    ids.push_back(static_cast<unsigned char>(byte));
    targets.push_back(static_cast<unsigned char>(byte));
  }
  targets.push_back(kEos);

  PlainLoop plain(config);
  Trainer trainer(config, corpus, nullptr);
  TrainCallbacks call;
  call.on_step = [&](const StepReport& r) {
    EXPECT_EQ(r.loss, plain.step(ids, targets, config.train.lr)) << r.step;
  };
  trainer.run(run_dir(dir, "out"), call);
  EXPECT_EQ(plain.steps, 6);
  EXPECT_TRUE(same_weights(trainer.model(), plain.model));
}

TEST(Trainer, LearnsInBf16AsInF32) {
  if (!has_bf16()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(200));
  for (const char* optimizer : {"adamw", "muon"}) {
    Config config = tiny_config(optimizer);
    config.train.lr = 1e-2;
    config.train.steps = 60;
    const auto losses = [&](const std::string& precision) {
      config.train.precision = precision;
      Trainer trainer(config, corpus, nullptr);
      EXPECT_STREQ(precision_name(trainer.precision()), precision.c_str());
      std::vector<double> all;
      TrainCallbacks call;
      call.on_step = [&](const StepReport& r) { all.push_back(r.loss); };
      trainer.run(run_dir(dir, optimizer + precision), call);
      return all;
    };
    const std::vector<double> f32 = losses("f32"), bf16 = losses("bf16");
    EXPECT_NE(f32[0], bf16[0]) << optimizer << ": the products are the same";
    EXPECT_NEAR(f32[0], bf16[0], 0.01) << optimizer;
    EXPECT_LT(f32.back(), 0.6 * f32[0]) << optimizer << ": too little is learnt to compare";
    EXPECT_NEAR(bf16.back(), f32.back(), 0.05 * f32.back()) << optimizer;
  }
}

TEST(Trainer, PrecisionIsTheBestThatTheMachineHasUnlessItIsNamed) {
  TrainConfig t;
  EXPECT_EQ(training_precision(t), prefers_bf16() ? Precision::kBf16 : Precision::kF32);
  t.precision = "f32";
  EXPECT_EQ(training_precision(t), Precision::kF32);
  t.precision = "bf16";
  if (has_bf16()) {
    EXPECT_EQ(training_precision(t), Precision::kBf16);
  } else {
    EXPECT_THROW(training_precision(t), UsageError);
  }
}

TEST(Trainer, TakesTheLossOfPairsOnTheirTargetsAlone) {
  const TempDir dir;
  const Config config = single_window_config();
  const std::string source = "def add(a):\n", target = "return a + 1\n# d";
  put(dir / "pairs.jsonl",
      "{\"source_code\": \"def add(a):\\n\", \"target_code\": \"return a + 1\\n# d\"}\n");
  const std::vector<std::string> paths{(dir / "pairs.jsonl").string()}, suffixes{".jsonl"};
  const Corpus corpus(find_corpus_files(paths, suffixes));
  std::vector<int32_t> tokens{kBos}, targets;
  for (const char c : source) tokens.push_back(static_cast<unsigned char>(c));
  tokens.push_back(kPairMark);
  for (const char c : target) tokens.push_back(static_cast<unsigned char>(c));
  tokens.push_back(kEos);

  Config fitting = config;
  fitting.model.max_seq_len = static_cast<int64_t>(tokens.size()) - 1;
  const int64_t first_scored = static_cast<int64_t>(source.size()) + 2;
  for (size_t i = 1; i < tokens.size(); ++i)
    targets.push_back(static_cast<int64_t>(i) < first_scored ? -1 : tokens[i]);
  tokens.pop_back();

  PlainLoop plain(fitting);
  Trainer trainer(fitting, corpus, nullptr);
  TrainCallbacks call;
  call.on_step = [&](const StepReport& r) {
    EXPECT_EQ(r.loss, plain.step(tokens, targets, fitting.train.lr)) << r.step;
  };
  trainer.run(run_dir(dir, "out"), call);
  EXPECT_EQ(plain.steps, 6);
  EXPECT_TRUE(same_weights(trainer.model(), plain.model));
}

TEST(Trainer, StartsFromAnotherModelOfTheSameConfigurationAlone) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = tiny_config();
  Trainer trainer(config, corpus, nullptr);
  Model other(config.model);
  other.init(99);
  trainer.start_from(other);
  EXPECT_TRUE(same_weights(trainer.model(), other));

  config.model.d_ff = 32;
  EXPECT_HOLDS(message_of<UsageError>([&] { trainer.start_from(Model(config.model)); }), "--init");
}

TEST(Trainer, RefusesACorpusSmallerThanAWindow) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", std::string(30, 'x'));
  EXPECT_HOLDS(message_of<Error>([&] { Trainer(tiny_config(), corpus, nullptr); }), "32 tokens");
}

// ---- Divergence ---------------------------------------------------------------------------------

TEST(Trainer, DivergenceStopsAndKeepsTheLastState) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  const Config config = tiny_config();
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
  again.run(out, {});
}

TEST(Trainer, WhateverEndsARunItsStateLoads) {
  // Rates far beyond reason, a save after every step.
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  int diverged = 0;
  for (const char* optimizer : {"lion", "adamw", "sgd", "muon"}) {
    Config config = tiny_config(optimizer);
    config.train.lr = 100;
    config.train.weight_decay = 10;  // multiplies every matrix by -999
    config.train.grad_clip = 0;
    config.train.warmup_steps = 0;
    config.train.schedule = "constant";
    config.train.steps = 30;
    config.train.checkpoint_every = 1;
    const auto out = run_dir(dir, optimizer);
    Trainer trainer(config, corpus, nullptr);
    try {
      trainer.run(out, {});
    } catch (const Error& e) {
      ++diverged;
      EXPECT_HOLDS(e.what(), "diverged");
    }
    Trainer again(config, corpus, nullptr);
    EXPECT_TRUE(again.resume(out)) << optimizer;
    EXPECT_NO_THROW(load_model(out)) << optimizer;
  }
  EXPECT_GT(diverged, 0);
}

TEST(Trainer, NeverSavesAMomentThatOverflowed) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Config config = tiny_config("adamw");
  config.train.grad_clip = 0;
  config.train.steps = 1;
  const auto out = run_dir(dir, "out");
  Trainer trainer(config, corpus, nullptr);
  Model steep(config.model);  // loss and gradient are finite, the gradient's square is not
  steep.init(0);
  const Parameter& output = steep.parameters().back();
  for (int64_t i = 0; i < output.size(); ++i) steep.data()[output.offset + i] *= 1e27f;
  trainer.start_from(steep);
  EXPECT_HOLDS(message_of<Diverged>([&] { trainer.run(out, {}); }), "no longer finite");
  EXPECT_FALSE(std::filesystem::exists(out / kStateFile));
  EXPECT_FALSE(std::filesystem::exists(out / kModelFile));
}

// ---- Held-out score -----------------------------------------------------------------------------

TEST(Holdout, ScoresTheSameBytesAsTheScorer) {
  const TempDir dir;
  const Config config = tiny_config();
  Model model(config.model);
  model.init(3);
  for (int64_t i = 0; i < model.parameter_count(); ++i) model.data()[i] *= 8;  // far from uniform
  Activations activations(config.model, 3 * config.model.max_seq_len,
                          Activations::Mode::kInference);
  // Documents whose windows tile evenly, where the sample is all of it; and a short one.
  for (const int bytes : {20, 31, 31 + 16, 31 + 5 * 16}) {
    const std::string text = sample_text(20).substr(0, bytes);
    const Corpus corpus = corpus_of(dir, "h.py", text);
    const double bpb = holdout_bits_per_byte(model, corpus, 1 << 20, activations);
    EXPECT_NEAR(bpb, Scorer(model).score(text).bits_per_byte(), 1e-4) << bytes;
  }
}

TEST(Holdout, IsReportedAtTheEndAndWhereItIsDue) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  const Corpus holdout = corpus_of(dir, "b.py", sample_text(30).substr(100));
  Config config = tiny_config();
  config.train.eval_every = 3;
  Trainer trainer(config, corpus, &holdout);
  std::vector<int64_t> scored;
  TrainCallbacks call;
  call.on_step = [&](const StepReport& r) {
    if (r.holdout_bpb) scored.push_back(r.step);
  };
  const TrainResult result = trainer.run(run_dir(dir, "out"), call);
  EXPECT_EQ(scored, (std::vector<int64_t>{3, 6}));
  ASSERT_TRUE(result.holdout_bpb);
  EXPECT_EQ(*result.holdout_bpb, *trainer.evaluate());
  EXPECT_GT(*result.holdout_bpb, 0.0);
  EXPECT_LT(*result.holdout_bpb, 9.0);
}

TEST(Holdout, DoesNotDisturbTraining) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  const Corpus holdout = corpus_of(dir, "b.py", sample_text(30));
  Config config = tiny_config();
  Trainer without(config, corpus, nullptr);
  without.run(run_dir(dir, "without"), {});
  config.train.eval_every = 1;
  Trainer with(config, corpus, &holdout);
  with.run(run_dir(dir, "with"), {});
  EXPECT_TRUE(same_weights(with.model(), without.model()));
}

}  // namespace
}  // namespace axl
