// Filling gaps: the prompt for it, and models that were trained for it.
#include "axl/infer/fill_in_middle.h"

#include <gtest/gtest.h>

#include <string>

#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/base/tokens.h"
#include "axl/model/checkpoint.h"
#include "axl/model/gguf_model.h"
#include "axl/model/quantized.h"
#include "config_testing.h"
#include "train_testing.h"

namespace axl {
namespace {

/// Tokens with marks in the letters S, P and M, which the tests' texts do not have.
std::string shown(const FillPrompt& prompt) {
  std::string text;
  for (const int32_t token : prompt.tokens)
    text += token == kFimSuffix   ? 'S'
            : token == kFimPrefix ? 'P'
            : token == kFimMiddle ? 'M'
                                  : static_cast<char>(token);
  return text;
}

TEST(FillInMiddlePrompt, IsTheSuffixThenWhatTheMiddleContinues) {
  const FillPrompt prompt = fill_in_middle_prompt("ab", "cde", 256, 100);
  EXPECT_EQ(shown(prompt), "PScdeMab");
  EXPECT_EQ(prompt.prefix_dropped, 0);
  EXPECT_EQ(prompt.suffix_dropped, 0);
  EXPECT_EQ(shown(fill_in_middle_prompt("", "", 256, 100)), "PSM");
  EXPECT_EQ(fill_in_middle_prompt("\xff", "\x80", 256, 9).tokens,
            (std::vector<int32_t>{kFimPrefix, kFimSuffix, 0x80, kFimMiddle, 0xff}));
}

TEST(FillInMiddlePrompt, KeepsTheBytesNextToTheGap) {
  // 24 tokens, of them BOS, three marks and 8 to write: 12 bytes, of which the suffix has 3.
  const FillPrompt prompt = fill_in_middle_prompt("abcdefghijklmn", "opqrstuv", 24, 8);
  EXPECT_EQ(shown(prompt), "PSopqMfghijklmn");
  EXPECT_EQ(prompt.prefix_dropped, 5);
  EXPECT_EQ(prompt.suffix_dropped, 5);
}

TEST(FillInMiddlePrompt, GivesTheSuffixWhatAShortPrefixLeaves) {
  EXPECT_EQ(shown(fill_in_middle_prompt("ab", "opqrstuvwxyz", 24, 8)), "PSopqrstuvwxMab");
  EXPECT_EQ(shown(fill_in_middle_prompt("abcdefghijklmn", "o", 24, 8)), "PSoMdefghijklmn");
}

TEST(FillInMiddlePrompt, FitsWithWhatIsToBeWrittenAndUsesAllTheRoom) {
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string prefix(rng.below(60), 'a'), suffix(rng.below(60), 'z');
    const auto context = static_cast<int64_t>(4 + rng.below(100));
    const auto room = static_cast<int64_t>(rng.below(150));
    const FillPrompt prompt = fill_in_middle_prompt(prefix, suffix, context, room);
    const int64_t limit = std::max<int64_t>(context - std::min(room, context / 2), 4);
    const int64_t whole = 4 + prefix.size() + suffix.size();
    const int64_t used = 1 + prompt.tokens.size();
    const std::string where = format("{} {} {} {}", prefix.size(), suffix.size(), context, room);
    ASSERT_EQ(used, std::min(limit, whole)) << where;
    ASSERT_EQ(prompt.prefix_dropped + prompt.suffix_dropped, whole - used) << where;
    const int64_t suffix_kept = suffix.size() - prompt.suffix_dropped;
    if (prompt.prefix_dropped > 0) {
      ASSERT_LE(suffix_kept, (limit - 4) / 4) << where;
    }
  }
}

TEST(FillInMiddleKey, IsInAModelsConfigurationOnlyWhereItIsTrue) {
  ModelConfig config;
  const std::string plain = to_json(config);
  EXPECT_EQ(plain.find("fill"), plain.npos);
  EXPECT_FALSE(model_config_from_json(plain, "x").fill_in_middle);
  config.fill_in_middle = true;
  EXPECT_EQ(to_json(config), plain.substr(0, plain.size() - 1) + R"(,"fill_in_middle":true})");
  EXPECT_TRUE(model_config_from_json(to_json(config), "x").fill_in_middle);
}

TEST(FillInMiddleKey, CannotBeClaimedByAConfigurationFile) {
  expect_contains(parse_error("model:\n  fill_in_middle: true\n"),
                  "there is no key 'model.fill_in_middle'");
}

TEST(FillInMiddleKey, OfTrainingNeedsWindowsWithRoomForMarks) {
  Config config = tiny_config();
  config.train.fim_rate = 0.5;
  config.model.max_seq_len = 16;
  EXPECT_NO_THROW(config.validate());
  config.model.max_seq_len = 15;
  expect_contains(usage_error([&] { config.validate(); }), "model.max_seq_len is 15");
  config.train.fim_rate = 0;
  EXPECT_NO_THROW(config.validate());
  expect_contains(parse_error("train:\n  fim_rate: 1.5\n"), "train.fim_rate is '1.5'");
}

struct FillTraining : testing::Test {
  Config filling() const {
    Config config = tiny_config();
    config.train.fim_rate = 0.5;
    return config;
  }
  std::filesystem::path trained(const Config& config, const std::string& name) const {
    const std::filesystem::path out = run_dir(dir, name);
    Trainer(config, corpus, nullptr).run(out, {});
    return out;
  }

  TempDir dir;
  Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
};

TEST_F(FillTraining, EqualsAnUndisturbedRunBitForBitWhenResumed) {
  const std::filesystem::path whole = trained(filling(), "whole");
  EXPECT_FALSE(same_weights(load_model(whole), load_model(trained(tiny_config(), "plain"))));
  const std::filesystem::path out = run_dir(dir, "stopped");
  Trainer stopped(filling(), corpus, nullptr);
  stopped.run(out, stop_after(stopped, 3));
  Trainer resumed(filling(), corpus, nullptr);
  ASSERT_TRUE(resumed.resume(out));
  resumed.run(out, {});
  EXPECT_TRUE(get(out / kModelFile) == get(whole / kModelFile));
}

TEST_F(FillTraining, IsKnownOfTheModelInEveryFile) {
  const std::filesystem::path plain = trained(tiny_config(), "plain"),
                              out = trained(filling(), "a");
  EXPECT_FALSE(load_model_config(plain).fill_in_middle);
  EXPECT_TRUE(load_model_config(out).fill_in_middle);
  const Model model = load_model(out);
  save_quantized(model, QuantizedType::kQ8_0, dir / "a.gguf", "a");
  EXPECT_TRUE(load_model(dir / "a.gguf").config().fill_in_middle);
}

TEST_F(FillTraining, OfAModelThatWasNotOrNoLongerIs) {
  const Model able = load_model(trained(filling(), "able"));
  const Model plain = load_model(trained(tiny_config(), "plain"));
  Trainer forgets(tiny_config(), corpus, nullptr), learns(filling(), corpus, nullptr);
  forgets.start_from(able);
  learns.start_from(plain);
  EXPECT_FALSE(forgets.model().config().fill_in_middle);
  EXPECT_TRUE(learns.model().config().fill_in_middle);
}

}  // namespace
}  // namespace axl
