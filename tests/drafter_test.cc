// Guessing ahead: the same text, in fewer passes.
#include "axl/infer/drafter.h"

#include <gtest/gtest.h>

#include <cstring>

#include "axl/infer/fill_in_middle.h"
#include "axl/infer/generate.h"
#include "axl/model/checkpoint.h"
#include "axl/model/quantized.h"
#include "logits_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

ModelConfig some_config(int64_t context) {
  ModelConfig config{.d_model = 64, .n_heads = 2, .d_ff = 96, .n_layers_per_scale = {2}};
  config.max_seq_len = context;
  return config;
}

std::vector<int32_t> tokens_of(std::string_view text) {
  std::vector<int32_t> tokens;
  for (const unsigned char c : text) tokens.push_back(c);
  return tokens;
}

std::string text_of(std::span<const int32_t> tokens) { return {tokens.begin(), tokens.end()}; }

struct DrafterTest : testing::Test {
  const Model model{some_config(64)};
  Drafter drafter{model};
  std::string guess(int64_t most = 16) { return text_of(drafter.guess(most)); }

  /// Whether something is guessed, and it is how `text` begins.
  bool guesses(std::string_view text) {
    const std::string guessed = guess(std::ssize(text));
    return !guessed.empty() && text.substr(0, guessed.size()) == guessed;
  }
};

TEST_F(DrafterTest, GuessesWhatFollowedTheSameBytes) {
  drafter.append(tokens_of("the first one; the second; the"));
  EXPECT_TRUE(guesses(" s"));
  drafter.append(tokens_of(" firs"));
  EXPECT_TRUE(guesses("t one; the "));
}

TEST_F(DrafterTest, HasNoGuessForWhatIsNew) {
  EXPECT_EQ(guess(), "");
  drafter.append(tokens_of("abcdefgh"));
  EXPECT_EQ(guess(), "");
  drafter.append(tokens_of("bc"));  // two bytes alike are too few
  EXPECT_EQ(guess(), "");
  drafter.append(tokens_of("xxxabcdef"));
  EXPECT_TRUE(guesses("gh"));
  EXPECT_EQ(guess(0), "");
}

TEST_F(DrafterTest, ARepeatMayRunIntoItsOwnGuesses) {
  drafter.append(tokens_of(std::string(400, '-')));
  EXPECT_EQ(guess(12), std::string(12, '-'));
}

TEST_F(DrafterTest, MarksAreNeitherGuessedNorCrossed) {
  drafter.append(tokens_of("wxyz"));
  drafter.append(kBos);
  drafter.append(tokens_of("wxyz"));
  EXPECT_EQ(guess(), "");
  drafter.append(kBos);
  drafter.append(tokens_of("yz"));
  EXPECT_EQ(guess(), "");
}

TEST_F(DrafterTest, MoreBytesAlikeCountMoreThanMoreVotes) {
  drafter.append(tokens_of("1234567+678-678-678-678-"));
  drafter.append(tokens_of("0000012345678=678-"));
  drafter.append(tokens_of("12345678"));
  EXPECT_TRUE(guesses("=678-"));
}

TEST_F(DrafterTest, TheMajorityCounts) {
  drafter.append(tokens_of("abcX, abcY, abcX, abcX, abcZ, abcX, .abc"));
  EXPECT_EQ(guess(1), "X");
}

TEST_F(DrafterTest, GuessesLessWhereGuessesAreWrong) {
  std::string text = "abcabc";
  drafter.append(tokens_of(text));
  EXPECT_TRUE(guesses("abc"));
  // Every run of three bytes comes back, and something else follows each time.
  Rng rng(1);
  for (int i = 0; i < 3000; ++i) {
    drafter.guess(16);
    drafter.append(static_cast<int32_t>('a' + rng.below(4)));
  }
  int64_t guessed = 0;
  for (int i = 0; i < 300; ++i) {
    guessed += std::ssize(drafter.guess(16));
    drafter.append(static_cast<int32_t>('a' + rng.below(4)));
  }
  EXPECT_LT(guessed, 150);  // of a byte in four that is right
}

TEST_F(DrafterTest, RemembersTheLastOfALongText) {
  std::string text = "at the very beginning ";
  Rng rng(1);
  while (text.size() < (300 << 10)) text += static_cast<char>(rng.below(256));
  for (const bool at_once : {true, false}) {
    Drafter reader(model);
    if (at_once)
      reader.append(tokens_of(text));
    else
      for (const int32_t byte : tokens_of(text)) reader.append(byte);
    reader.append(tokens_of("at the very "));
    EXPECT_TRUE(reader.guess(4).empty());
    reader.append(tokens_of(text.substr(text.size() - 1000, 10)));
    const std::string guessed = text_of(reader.guess(4));
    EXPECT_FALSE(guessed.empty());
    EXPECT_EQ(guessed, text.substr(text.size() - 990, guessed.size()));
  }
}

TEST_F(DrafterTest, WhatStandsAroundTheTextCounts) {
  drafter.remember("def area(width, height):");
  EXPECT_EQ(guess(), "");
  drafter.append(kBos);
  drafter.append(tokens_of("return area(width"));
  EXPECT_TRUE(guesses(", height):"));
  Drafter longer(model);
  longer.remember("far away" + std::string(40 << 10, '.') + "close by");
  longer.append(tokens_of("far a"));
  EXPECT_TRUE(longer.guess(3).empty());
  longer.append(tokens_of(" close"));
  EXPECT_FALSE(longer.guess(3).empty());
}

TEST_F(DrafterTest, MoreTextsInAPassMakeFewerGuesses) {
  drafter.append(tokens_of("one more word and one more w"));
  const size_t alone = drafter.guess(16, 1).size(), crowded = drafter.guess(16, 8).size();
  EXPECT_GT(alone, 0u);
  EXPECT_LE(crowded, alone);
}

// ---- Passes with guesses ------------------------------------------------------------------------

/// A model as it is trained, and quantised.
std::vector<Model> some_models(int64_t context) {
  ModelConfig config = some_config(context);
  std::vector<Model> models;
  models.push_back(random_model_of(config));
  const TempDir dir;
  for (const QuantizedType type :
       {QuantizedType::kBF16, QuantizedType::kQ8_0, QuantizedType::kQ4_K_M}) {
    save_quantized(models[0], type, dir.path() / "m.gguf", "m");
    models.push_back(load_model(dir.path() / "m.gguf"));
  }
  config.downsample_factors = {1};
  config.repeats = {2, 4};
  models.push_back(random_model_of(config));
  models.emplace_back(config);
  models.back().init(3);  // says the same again and again
  return models;
}

TEST(Guesses, LogitsAreThoseOfReadingByteByByte) {
  const std::vector<Model> models = some_models(64);
  for (const Model& model : models) {
    Session with(model, 1, Renewal::kAtOnce), without(model, 1, Renewal::kAtOnce);
    Rng rng(7);
    with.append(std::vector<int32_t>{kBos});
    without.append(std::vector<int32_t>{kBos});
    int64_t guessed = 0;
    for (int pass = 0; pass < 120; ++pass) {
      std::vector<int32_t> text;
      const auto count = static_cast<int64_t>(rng.below(10));
      for (int64_t i = 0; i <= std::min(count, with.room_for_guesses()); ++i)
        text.push_back(static_cast<int32_t>(rng.below(256)));
      const auto guesses = std::span(text).subspan(1);
      const auto right = static_cast<int64_t>(rng.below(text.size()));
      const auto logits = with.append(text[0], guesses);
      ASSERT_EQ(logits.size(), text.size() * kVocab);
      for (int64_t i = 0; i <= right; ++i) {
        const auto expected = without.append({&text[i], 1});
        ASSERT_EQ(std::memcmp(&logits[i * kVocab], expected.data(), expected.size_bytes()), 0)
            << pass << " " << i << " of model " << &model - models.data();
      }
      with.keep_guesses(right);
      ASSERT_EQ(with.length(), without.length());
      guessed += std::ssize(guesses);
    }
    EXPECT_GT(guessed, 100);
    EXPECT_GT(with.dropped(), 0);
  }
}

TEST(Guesses, MoreThanThereIsRoomForAreADefect) {
  const Model model = random_model_of(some_config(16));
  Session session(model, 1, Renewal::kAtOnce), along(model, 1, Renewal::kAlong), two(model, 2);
  EXPECT_EQ(along.room_for_guesses(), 0);
  EXPECT_EQ(two.room_for_guesses(), 0);
  session.append(std::vector<int32_t>(14, 'a'));
  EXPECT_EQ(session.room_for_guesses(), 1);
  session.append('b', {});
  EXPECT_EQ(session.room_for_guesses(), 0);
  const std::vector<int32_t> one{'c'};
  EXPECT_ANY_THROW(session.append('b', one));
}

TEST(Guesses, TheTextIsTheSameInFewerPasses) {
  const std::string prompt = "for i in range(3): print(i)\nfor j in range(3): print(j)\nfor k in ";
  int64_t written_greedily = 0, passes = 0;
  for (const Model& model : some_models(64))
    for (const double temperature : {0.0, 0.8}) {
      GenerateOptions options;
      options.max_new_tokens = 300;
      options.sampling.temperature = temperature;
      options.sampling.top_k = 2;
      const auto written = [&](int64_t draft) {
        options.draft = draft;
        std::string streamed;
        Generation g = generate(model, prompt, options, [&](std::string_view text) {
          streamed += text;
          return true;
        });
        EXPECT_EQ(streamed, g.text);
        return g;
      };
      const Generation plain = written(0);
      EXPECT_EQ(plain.writing.passes, plain.new_tokens);
      EXPECT_EQ(plain.writing.guesses, 0);
      for (const int64_t draft : {1, 4, 100}) {
        const Generation g = written(draft);
        EXPECT_EQ(g.text, plain.text);
        EXPECT_EQ(g.new_tokens, plain.new_tokens);
        EXPECT_EQ(g.finish_reason, plain.finish_reason);
        EXPECT_EQ(g.writing.passes + g.writing.right_guesses, g.new_tokens);
        if (temperature == 0) written_greedily += g.new_tokens, passes += g.writing.passes;
      }
    }
  EXPECT_LT(passes, written_greedily);
}

TEST(Guesses, WhatIsCutOffAPromptHelpsToGuess) {
  const Model model = random_model_of(some_config(64));
  const auto all = [](std::string_view) { return true; };
  GenerateOptions options;
  options.sampling.temperature = 0;
  const Generation plain = generate(model, "xyz", options, all);
  options.around = "xyz" + plain.text;
  const Generation g = generate(model, "xyz", options, all);
  EXPECT_EQ(g.text, plain.text);
  EXPECT_GT(plain.new_tokens, 20);
  EXPECT_LT(g.writing.passes, plain.writing.passes);
  const FillPrompt cut =
      fill_in_middle_prompt(std::string(50, 'p') + "end", "begin" + std::string(50, 's'), 64, 32);
  EXPECT_EQ(cut.prefix_dropped + cut.suffix_dropped, std::ssize(cut.dropped));
  EXPECT_EQ(cut.dropped,
            std::string(cut.suffix_dropped, 's') + std::string(cut.prefix_dropped, 'p'));
}

TEST(Guesses, ATextEndsAtAStopAmongThem) {
  const Model model = random_model_of(some_config(64));
  GenerateOptions options;
  options.max_new_tokens = 200;
  options.sampling.temperature = 0;
  options.draft = 0;
  const auto all = [](std::string_view) { return true; };
  std::string prompt, text;
  for (char c = 'a'; c <= 'z' && text.size() < 150; ++c) {
    prompt = std::string(3, c);
    text = generate(model, prompt, options, all).text;
  }
  ASSERT_GE(text.size(), 150u);
  for (const int64_t length : {1, 20, 101, 137}) {
    options.max_new_tokens = length;
    options.draft = 10;
    const Generation g = generate(model, prompt, options, all);
    EXPECT_EQ(g.text, text.substr(0, length));
    EXPECT_EQ(g.new_tokens, length);
  }
  options.max_new_tokens = 200;
  int64_t streamed = 0;
  const Generation g = generate(model, prompt, options, [&](std::string_view t) {
    streamed += std::ssize(t);
    return streamed < 120;
  });
  EXPECT_EQ(g.finish_reason, "cancelled");
  EXPECT_EQ(g.text, text.substr(0, 120));
}

}  // namespace
}  // namespace axl
