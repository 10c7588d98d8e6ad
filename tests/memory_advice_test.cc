// What training takes is compared with what is free before it begins.
#include <gtest/gtest.h>

#include <limits>

#include "axl/base/error.h"
#include "axl/train/memory.h"
#include "train_testing.h"

namespace axl {
namespace {

Config large_config(const std::string& optimizer = "lion") {
  Config config = tiny_config(optimizer);
  config.name = "large";
  config.model.d_model = 256;
  config.model.n_heads = 4;
  config.model.d_ff = 688;
  config.model.n_layers_per_scale = {3};
  config.model.max_seq_len = 256;
  config.train.batch_size = 8;
  config.train.grad_clip = 1;
  return config;
}

int64_t peak(const Config& c) { return peak_training_bytes(c.model, c.train); }

/// The same with settings in the form of --set.
Config with(Config config, const std::vector<std::string>& settings) {
  for (const std::string& s : settings) {
    const size_t equals = s.find('=');
    set_field(find_field(config.fields(), s.substr(0, equals), "test"),
              parse_field_text(s.substr(equals + 1)), "test");
  }
  return config;
}

using Settings = std::vector<std::string>;
const Settings kRecompute = {"train.recompute=true"};
const Settings kInBackward = {"train.recompute=true", "train.update_in_backward=true",
                              "train.grad_clip=0"};
const Settings kMomentum = {"train.recompute=true", "train.update_in_backward=true",
                            "train.grad_clip=0", "train.momentum_dtype=bf16"};
const Settings kAll = {"train.recompute=true", "train.update_in_backward=true", "train.grad_clip=0",
                       "train.momentum_dtype=bf16", "train.weights_dtype=bf16"};

TEST(MemoryAdvice, EachMeansTakesLessThanTheOneBefore) {
  const Config config = large_config();
  int64_t last = peak(config);
  for (const Settings& settings : {kRecompute, kInBackward, kMomentum, kAll}) {
    EXPECT_LT(peak(with(config, settings)), last - 10'000'000) << settings.back();
    last = peak(with(config, settings));
  }
}

TEST(MemoryAdvice, IsTheFirstSettingsThatFit) {
  const Config config = large_config();
  EXPECT_EQ(settings_that_fit(config, peak(config)), Settings());
  EXPECT_EQ(settings_that_fit(config, peak(config) - 1), kRecompute);
  EXPECT_EQ(settings_that_fit(config, peak(with(config, kRecompute)) - 1), kInBackward);
  EXPECT_EQ(settings_that_fit(config, peak(with(config, kInBackward)) - 1), kMomentum);
  EXPECT_EQ(settings_that_fit(config, peak(with(config, kMomentum)) - 1), kAll);
}

TEST(MemoryAdvice, HalvesTheBatchOnlyWhenNothingElseIsEnough) {
  const Config config = large_config();
  const int64_t available = peak(with(config, kAll)) - 1;
  const std::optional<Settings> settings = settings_that_fit(config, available);
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->front(), "train.batch_size=4");
  EXPECT_LE(peak(with(config, *settings)), available);
}

TEST(MemoryAdvice, LeavesOutWhatIsOnAlready) {
  const Config config = with(large_config(), kInBackward);
  EXPECT_EQ(settings_that_fit(config, peak(config) - 1), Settings{"train.momentum_dtype=bf16"});
}

TEST(MemoryAdvice, ProposesOnlyWhatTheOptimizerHas) {
  for (const char* optimizer : {"adamw", "muon", "sgd"}) {
    const Config config = large_config(optimizer);
    for (int64_t available = peak(config); available > 60'000'000; available -= 20'000'000) {
      const std::optional<Settings> settings = settings_that_fit(config, available);
      if (!settings) break;
      const Config proposed = with(config, *settings);
      EXPECT_NO_THROW(proposed.validate()) << optimizer;
      EXPECT_LE(peak(proposed), available);
    }
  }
}

TEST(MemoryAdvice, SaysSoWhenNothingFits) {
  const Config config = large_config();
  EXPECT_EQ(settings_that_fit(config, 1 << 20), std::nullopt);
  EXPECT_HOLDS(message_of<Error>([&] { require_memory(config, 1 << 20); }), "no settings");
}

TEST(MemoryAdvice, IsOneLineThatCanBeCopied) {
  const Config config = large_config();
  EXPECT_NO_THROW(require_memory(config, std::numeric_limits<int64_t>::max()));
  EXPECT_NO_THROW(require_memory(config, peak(config)));
  const std::string message =
      message_of<Error>([&] { require_memory(config, peak(with(config, kRecompute)) - 1); });
  EXPECT_HOLDS(message, "training large takes ");
  EXPECT_HOLDS(message,
               "--set train.recompute=true --set train.update_in_backward=true --set "
               "train.grad_clip=0");
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace axl
