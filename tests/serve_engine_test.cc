// Many texts on one engine: each as it would be written alone, whatever its neighbours do.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "axl/base/clock.h"
#include "axl/infer/generate.h"
#include "axl/infer/perplexity.h"
#include "axl/serve/engine.h"
#include "logits_testing.h"

namespace axl {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<const Model> random_model() {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {2}};
  config.max_seq_len = 64;
  return std::make_shared<Model>(random_model_of(config));
}

CompletionRequest request(const std::string& prompt, int64_t max_tokens) {
  CompletionRequest r;
  for (const unsigned char byte : prompt) r.prompt.push_back(byte);
  r.max_tokens = max_tokens;
  r.sampling.temperature = 0;
  return r;
}

struct Answer {
  std::string text;
  std::vector<TokenInfo> prompt, written;
  CompletionPiece last;
  int pieces = 0;
};

Answer answer_of(Completion& completion) {
  Answer answer;
  for (;;) {
    const std::optional<CompletionPiece> piece = completion.next(60s);
    if (!piece) throw Error("no answer within a minute");
    ++answer.pieces;
    answer.text += piece->text;
    answer.prompt.insert(answer.prompt.end(), piece->prompt.begin(), piece->prompt.end());
    answer.written.insert(answer.written.end(), piece->written.begin(), piece->written.end());
    answer.last = *piece;
    if (piece->last) return answer;
  }
}

Answer answer_of(Engine& engine, CompletionRequest r) {
  return answer_of(*engine.submit(std::move(r)));
}

/// The last piece leaves before it is counted.
EngineStats stats_at_rest(const Engine& engine) {
  while (engine.stats().running > 0) std::this_thread::sleep_for(1ms);
  return engine.stats();
}

/// What `axl generate` writes.
std::string alone(const Model& model, const std::string& prompt, int64_t max_tokens) {
  GenerateOptions options;
  options.max_new_tokens = max_tokens;
  options.sampling.temperature = 0;
  options.draft = 0;
  return generate(model, prompt, options, [](std::string_view) { return true; }).text;
}

class EngineTest : public testing::Test {
 protected:
  std::shared_ptr<const Model> model_ = random_model();
};

TEST_F(EngineTest, EveryTextIsWhatItWouldBeAlone) {
  Engine engine(model_, {.sequences = 3, .queue = 64});
  std::vector<std::string> prompts;
  for (int i = 0; i < 12; ++i) prompts.push_back(std::string(i * 13, 'a' + i) + "xyz");
  std::vector<std::unique_ptr<Completion>> all;
  for (size_t i = 0; i < prompts.size(); ++i)
    all.push_back(engine.submit(request(prompts[i], 20 + 11 * i)));
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(answer_of(*all[i]).text, alone(*model_, prompts[i], 20 + 11 * i)) << prompts[i];
  EXPECT_EQ(stats_at_rest(engine).waiting, 0);
}

TEST(Engine, GuessesMakeNoOtherTextsInFewerPasses) {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {2}};
  config.max_seq_len = 64;
  const auto model = std::make_shared<Model>(config);
  model->init(3);  // says the same again and again
  for (const size_t texts : {1, 3}) {
    uint64_t passes[2];
    std::vector<std::string> written[2];
    for (const int with : {0, 1}) {
      Engine engine(model, {.sequences = 4, .queue = 8, .draft = with ? 10 : 0});
      std::vector<std::unique_ptr<Completion>> all;
      for (size_t i = 0; i < texts; ++i) {
        CompletionRequest r = request("text " + std::to_string(i), 200);
        r.top_logprobs = 1;
        all.push_back(engine.submit(std::move(r)));
      }
      for (const std::unique_ptr<Completion>& c : all) {
        const Answer answer = answer_of(*c);
        EXPECT_EQ(answer.last.new_tokens, 200);
        ASSERT_EQ(answer.written.size(), answer.text.size());
        for (size_t i = 0; i < answer.text.size(); ++i)
          EXPECT_EQ(answer.written[i].token, static_cast<unsigned char>(answer.text[i]));
        written[with].push_back(answer.text);
      }
      const EngineStats stats = stats_at_rest(engine);
      passes[with] = stats.passes;
      EXPECT_LE(stats.right_guesses, stats.guesses);
      EXPECT_EQ(stats.right_guesses > 0, with == 1);
    }
    EXPECT_EQ(written[0], written[1]);
    EXPECT_LT(passes[1], passes[0]);
  }
}

TEST_F(EngineTest, APromptIsReadFromWhereItDiffersFromAnEarlierOne) {
  Engine engine(model_, {.sequences = 2, .queue = 8});
  const std::string begin(40, 'q');
  EXPECT_EQ(answer_of(engine, request(begin + "first", 5)).last.prompt_reused, 0);
  const Answer second = answer_of(engine, request(begin + "second", 9));
  EXPECT_EQ(second.last.prompt_reused, 41);  // BOS and `begin`
  EXPECT_EQ(second.text, alone(*model_, begin + "second", 9));
  // All of it but the token whose logits are wanted.
  EXPECT_EQ(answer_of(engine, request(begin + "first", 5)).last.prompt_reused, 45);
  EXPECT_EQ(stats_at_rest(engine).reused_tokens, 86u);
}

TEST_F(EngineTest, SeveralAnswersToOnePromptReadItOnce) {
  Engine engine(model_, {.sequences = 4, .queue = 8});
  std::vector<std::unique_ptr<Completion>> all;
  for (int i = 0; i < 4; ++i) {
    CompletionRequest r = request(std::string(50, 'z'), 6);
    r.sampling.temperature = 1;
    r.seed = i;
    all.push_back(engine.submit(r));
  }
  for (const auto& each : all) answer_of(*each);
  // Four rows for the last bytes written and three for the last of the prompt, besides the prompt.
  EXPECT_LE(stats_at_rest(engine).pass_rows, 51u + 3 + 4 * 5 + 50);
}

TEST_F(EngineTest, APromptIsCutAtItsLeftAsASessionCutsIt) {
  Engine engine(model_, {.sequences = 1, .queue = 8});
  const std::string prompt(200, 'r');
  const Answer answer = answer_of(engine, request(prompt + "!", 10));
  EXPECT_EQ(answer.text, alone(*model_, prompt + "!", 10));
  EXPECT_EQ(answer.last.prompt_tokens, 202);
  EXPECT_EQ(answer.last.prompt_dropped, 160);  // five halves of the context
}

TEST_F(EngineTest, ANextWindowIsReadAlongWhereACacheIsIdle) {
  const std::string prompt = "0123456789";
  // With BOS, the prompt and all but the last byte of these, the context is full.
  const std::string written = alone(*model_, prompt, 54);
  struct {
    int64_t caches, max_tokens;
    uint64_t rows;
  } const cases[] = {{1, 200, 64}, {2, 200, 64 + 32}, {2, 54, 64}};
  for (const auto& c : cases) {
    Engine engine(model_,
                  {.sequences = c.caches, .queue = 8, .renewal = Renewal::kAlong, .draft = 0});
    CompletionRequest r = request(prompt, c.max_tokens);
    r.stop = {written};
    EXPECT_EQ(answer_of(engine, r).last.new_tokens, 54);
    EXPECT_EQ(stats_at_rest(engine).pass_rows, c.rows) << c.caches << " " << c.max_tokens;
  }
}

TEST_F(EngineTest, AWindowThatWasReadAlongIsNoReusedPrompt) {
  Engine engine(model_, {.sequences = 2, .queue = 8, .renewal = Renewal::kAlong});
  const std::string prompt(50, 'p');
  const Answer answer = answer_of(engine, request(prompt, 100));
  EXPECT_EQ(answer.text, alone(*model_, prompt, 100));
  EXPECT_EQ(answer.last.prompt_reused, 0);
}

TEST_F(EngineTest, ANextWindowGivesItsCacheToATextThatWaits) {
  Engine engine(model_, {.sequences = 3, .queue = 8, .renewal = Renewal::kAlong});
  std::vector<std::string> prompts;
  std::vector<std::unique_ptr<Completion>> all;
  for (int i = 0; i < 6; ++i) {
    prompts.push_back(std::string(17 * i, 'a' + i) + "go");
    all.push_back(engine.submit(request(prompts[i], 150 + 7 * i)));
    // The first has the second's cache by now, or the third's.
    if (i == 0)
      while (engine.stats().passes < 60) std::this_thread::yield();
  }
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(answer_of(*all[i]).text, alone(*model_, prompts[i], 150 + 7 * i)) << i;
}

TEST_F(EngineTest, ScoresOfAPromptAreThoseOfEvalPpl) {
  Engine engine(model_, {.sequences = 1, .queue = 8});
  std::string text;
  for (int i = 0; i < 150; ++i) text += static_cast<char>('a' + i * i % 26);
  CompletionRequest r = request(text, 0);
  r.score_prompt = true;
  r.top_logprobs = 2;
  const Answer answer = answer_of(engine, r);
  ASSERT_EQ(answer.prompt.size(), text.size());
  std::vector<float> nats;
  Scorer(*model_).score(text, [&](uint64_t, std::span<const float> some) {
    nats.insert(nats.end(), some.begin(), some.end());
    return true;
  });
  for (size_t i = 0; i < text.size(); ++i) {
    const TokenInfo& info = answer.prompt[i];
    EXPECT_EQ(info.token, text[i]);
    EXPECT_NEAR(-info.logprob, nats[i], 1e-3) << i;
    ASSERT_EQ(info.top.size(), 2u);
    EXPECT_GE(info.top[0].probability, info.top[1].probability);
    ASSERT_EQ(info.gate.size(), 3u);
    EXPECT_NEAR(info.gate[0] + info.gate[1] + info.gate[2], 1, 1e-5);
  }
  EXPECT_EQ(answer.last.finish_reason, "length");
  EXPECT_EQ(answer.text, "");
}

TEST_F(EngineTest, EachByteThatIsNoStopStringHasItsInfo) {
  Engine engine(model_, {.sequences = 1, .queue = 8});
  const std::string whole = alone(*model_, "abc", 40);
  CompletionRequest r = request("abc", 40);
  r.stop = {whole.substr(10, 3)};
  r.top_logprobs = 0;
  const Answer answer = answer_of(engine, r);
  EXPECT_EQ(answer.text, whole.substr(0, whole.find(r.stop[0])));
  EXPECT_EQ(answer.last.finish_reason, "stop");
  ASSERT_EQ(answer.written.size(), answer.text.size());
  for (size_t i = 0; i < answer.text.size(); ++i)
    EXPECT_EQ(answer.written[i].token, static_cast<unsigned char>(answer.text[i]));
}

TEST_F(EngineTest, WhoGoesAwayStopsTheWork) {
  Engine engine(model_, {.sequences = 1, .queue = 8});
  auto abandoned = engine.submit(request("abc", int64_t{1} << 40));
  ASSERT_TRUE(abandoned->next(60s));
  abandoned.reset();
  EXPECT_EQ(answer_of(engine, request("x", 3)).last.finish_reason, "length");
}

TEST_F(EngineTest, ATextEndsAtItsDeadline) {
  Engine engine(model_, {.sequences = 1, .queue = 8});
  CompletionRequest endless = request("abc", int64_t{1} << 40), late = request("x", 3);
  endless.deadline = Clock::now() + 50ms;
  late.deadline = Clock::now();
  const auto running = engine.submit(endless), waiting = engine.submit(late);
  EXPECT_EQ(answer_of(*running).last.finish_reason, "deadline");
  EXPECT_EQ(answer_of(*waiting).last.finish_reason, "deadline");
}

TEST_F(EngineTest, AFullQueueIsSaid) {
  Engine engine(model_, {.sequences = 1, .queue = 1});
  const auto first = engine.submit(request("a", int64_t{1} << 40));
  ASSERT_TRUE(first->next(60s));  // so it is not waiting
  const auto second = engine.submit(request("b", 1));
  EXPECT_THROW(engine.submit(request("c", 1)), BusyError);
}

TEST_F(EngineTest, AnEngineThatEndsLetsNobodyWait) {
  std::unique_ptr<Completion> running, waiting;
  {
    Engine engine(model_, {.sequences = 1, .queue = 8});
    running = engine.submit(request("a", int64_t{1} << 40));
    waiting = engine.submit(request("b", 1));
  }
  EXPECT_EQ(answer_of(*running).last.finish_reason, "cancelled");
  EXPECT_EQ(answer_of(*waiting).last.finish_reason, "cancelled");
}

TEST_F(EngineTest, ImpossibleRequestsAreRefused) {
  Engine engine(model_, {.sequences = 1, .queue = 1});
  CompletionRequest r = request("a", 1);
  r.prompt.push_back(kVocab);
  EXPECT_THROW(engine.submit(r), UsageError);
  EXPECT_THROW(engine.submit(request("a", -1)), UsageError);
  r = request("a", 1);
  r.sampling.top_p = 0;
  EXPECT_THROW(engine.submit(r), UsageError);
  EXPECT_THROW(Engine(model_, {.sequences = 0}), UsageError);
}

TEST(Engine, LogitsThatAreNotFiniteAreAnErrorOfThatText) {
  const auto model = random_model();
  const_cast<Model&>(*model).data()[0] = NAN;  // of the embedding of byte 0
  Engine engine(model, {.sequences = 2, .queue = 8});
  const auto bad = engine.submit(request(std::string(1, '\0'), 5));
  EXPECT_THROW(answer_of(*bad), Error);
  EXPECT_EQ(answer_of(engine, request("b", 3)).last.new_tokens, 3);
}

TEST_F(EngineTest, ThreadsMayAskAtTheSameTime) {
  Engine engine(model_, {.sequences = 4, .queue = 64});
  const std::string expected = alone(*model_, "hello", 30);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) EXPECT_EQ(answer_of(engine, request("hello", 30)).text, expected);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stats_at_rest(engine).written_tokens, 6u * 5 * 30);
}

}  // namespace
}  // namespace axl
