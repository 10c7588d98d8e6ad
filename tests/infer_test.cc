// Causality, decoding with caches, scoring and sampling.
#include <gtest/gtest.h>

#include <map>

#include "axl/base/parallel.h"
#include "axl/infer/causality.h"
#include "axl/infer/generate.h"
#include "axl/infer/perplexity.h"
#include "axl/infer/session.h"
#include "logits_testing.h"

namespace axl {
namespace {

Model random_model(std::vector<int64_t> factors, int64_t context, int64_t cross = 1) {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {2}};
  config.n_cross_attn_layers = cross;
  config.downsample_factors = std::move(factors);
  config.max_seq_len = context;
  return random_model_of(config);
}

std::vector<int32_t> random_ids(int64_t n) {
  std::vector<int32_t> ids{kBos};
  Rng rng(11);
  while (static_cast<int64_t>(ids.size()) < n) ids.push_back(rng.below(256));
  return ids;
}

class Shapes : public testing::TestWithParam<std::tuple<std::vector<int64_t>, int64_t>> {
 protected:
  Model model_ = random_model(std::get<0>(GetParam()), 200, std::get<1>(GetParam()));
};

TEST_P(Shapes, ModelIsCausal) { EXPECT_NO_THROW(check_causality(model_)); }

TEST_P(Shapes, DecodingByteByByteEqualsTheFullForwardAtEveryLength) {
  const std::vector<int32_t> ids = random_ids(150);
  Matrix expected = full_logits(model_, ids);
  Session session(model_);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto logits = session.append({&ids[i], 1});
    ASSERT_LT(relative_error(logits.data(), expected.view().row(i), kVocab), 1e-4) << i;
  }
}

TEST_P(Shapes, DecodingInChunksEqualsTheFullForward) {
  const std::vector<int32_t> ids = random_ids(180);
  Matrix expected = full_logits(model_, ids);
  for (int64_t chunk : {2, 3, 7, 64, 180}) {
    Session session(model_);
    for (int64_t i = 0; i < 180; i += chunk) {
      const int64_t count = std::min<int64_t>(chunk, 180 - i);
      const auto logits = session.append({&ids[i], static_cast<size_t>(count)});
      ASSERT_LT(relative_error(logits.data(), expected.view().row(i + count - 1), kVocab), 1e-4)
          << "chunk " << chunk << " at " << i;
    }
  }
}

TEST_P(Shapes, SeveralSequencesInStepEqualEachAlone) {
  // 250 tokens of each: beyond the context of 200, so that all drop their oldest half at once.
  constexpr int64_t kSequences = 7, kLength = 250;
  std::vector<std::vector<int32_t>> ids(kSequences);
  for (int64_t i = 0; i < kSequences; ++i)
    for (int64_t k = 0; k < kLength; ++k) ids[i].push_back((k * k + 31 * i * k) % 256);
  Session together(model_, kSequences);
  std::vector<Session> alone;
  for (int64_t i = 0; i < kSequences; ++i) alone.emplace_back(model_);
  int64_t done = 0;
  for (int64_t count : {1, 1, 3, 50, 1, 1, 1, 1, 130, 1, 1, 1, 57, 1}) {
    std::vector<int32_t> tokens;
    for (const auto& sequence : ids)
      tokens.insert(tokens.end(), &sequence[done], &sequence[done] + count);
    const std::span<const float> logits = together.append(tokens);
    ASSERT_EQ(logits.size(), static_cast<size_t>(kSequences * kVocab));
    for (int64_t i = 0; i < kSequences; ++i) {
      const auto expected = alone[i].append({&ids[i][done], static_cast<size_t>(count)});
      ASSERT_LT(relative_error(&logits[i * kVocab], expected.data(), kVocab), 1e-4)
          << "sequence " << i << " after " << done + count;
    }
    ASSERT_EQ(together.dropped(), alone[0].dropped());
    done += count;
  }
  EXPECT_EQ(done, kLength);
  EXPECT_GT(together.dropped(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Models, Shapes,
    testing::Combine(testing::Values(std::vector<int64_t>{1, 2, 4}, std::vector<int64_t>{1},
                                     std::vector<int64_t>{1, 3, 5}, std::vector<int64_t>{1, 4, 16}),
                     testing::Values(1, 2)));

TEST(Causality, RefusesAModelThatPeeksAtItsGroup) {
  const Model model = random_model({1, 2, 4}, 64);
  // The leak that gives perplexities of 1.0x: a byte sees the last byte of its group of four.
  const LogitsOf leaky = [&](std::span<const int32_t> ids, Mat logits) {
    Matrix honest = full_logits(model, ids);
    for (int64_t i = 0; i < logits.rows; ++i) {
      const int64_t last = std::min<int64_t>(i / 4 * 4 + 3, logits.rows - 1);
      std::copy_n(honest.view().row(last), kVocab, logits.row(i));
    }
  };
  EXPECT_THROW(check_causality(leaky, 64), Error);
}

TEST(Causality, RefusesLogitsThatDependOnTheLength) {
  const LogitsOf length_dependent = [](std::span<const int32_t> ids, Mat logits) {
    for (int64_t i = 0; i < logits.size(); ++i) logits.data[i] = 0.001f * ids.size();
  };
  EXPECT_THROW(check_causality(length_dependent, 64), Error);
}

TEST(Session, FullContextDropsTheOldestHalf) {
  const Model model = random_model({1, 2, 4}, 32);
  const std::vector<int32_t> ids = random_ids(100);
  Session session(model);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto logits = session.append({&ids[i], 1});
    ASSERT_LE(session.length(), 32);
    const size_t begin = session.dropped();
    ASSERT_EQ(begin % 16, 0u);
    Matrix expected = full_logits(model, {&ids[begin], i + 1 - begin});
    ASSERT_LT(relative_error(logits.data(), expected.view().row(i - begin), kVocab), 1e-4) << i;
  }
  EXPECT_EQ(session.dropped(), 80);
}

TEST(Session, ANextWindowReadAlongEqualsOneReadAtOnce) {
  const Model model = random_model({1, 2, 4}, 32);
  const std::vector<int32_t> ids = random_ids(200);
  for (const std::vector<int64_t>& counts :
       std::vector<std::vector<int64_t>>{{1}, {1, 1, 3}, {20, 1}, {31, 1, 1}, {13}, {1, 49}}) {
    Session along(model, 1, Renewal::kAlong), at_once(model, 1, Renewal::kAtOnce);
    for (int round = 0; round < 2; ++round) {
      size_t done = 0;
      for (size_t i = 0; done < ids.size(); ++i) {
        const size_t count = std::min<size_t>(counts[i % counts.size()], ids.size() - done);
        const std::span<const int32_t> tokens(&ids[done], count);
        const auto logits = along.append(tokens), expected = at_once.append(tokens);
        done += count;
        ASSERT_LT(relative_error(logits.data(), expected.data(), kVocab), 1e-4) << done;
        ASSERT_EQ(along.length(), at_once.length());
        if (along.length() == 32 && count == 1) {
          ASSERT_EQ(along.read_along(), 16) << done;
        }
        ASSERT_EQ(at_once.read_along(), 0);
      }
      along.clear();
      at_once.clear();
    }
  }
}

TEST(Session, LongPromptEqualsTheSameTextByteByByte) {
  const Model model = random_model({1, 2, 4}, 32);
  const std::vector<int32_t> ids = random_ids(101);
  Session at_once(model), stepwise(model);
  std::span<const float> last;
  for (const int32_t& id : ids) last = stepwise.append({&id, 1});
  const auto logits = at_once.append(ids);
  EXPECT_EQ(at_once.dropped(), stepwise.dropped());
  EXPECT_LT(relative_error(logits.data(), last.data(), kVocab), 1e-4);
}

TEST(Scorer, ScoresEveryByteOnceWithTheDefinedContext) {
  const Model model = random_model({1, 2, 4}, 16);
  for (int64_t n : {1, 7, 15, 16, 17, 24, 25, 40, 41, 100, 1000}) {
    std::string text;
    Rng rng(n);
    for (int64_t i = 0; i < n; ++i) text += static_cast<char>(rng.below(256));
    std::vector<float> nats;
    const Score score = Scorer(model).score(text, [&](uint64_t offset, std::span<const float> v) {
      EXPECT_EQ(offset, nats.size());
      nats.insert(nats.end(), v.begin(), v.end());
      return true;
    });
    ASSERT_EQ(score.bytes, text.size());
    ASSERT_EQ(nats.size(), text.size());
    double expected_total = 0;
    for (int64_t k = 0; k < n; ++k) {  // byte k is predicted from input k
      const int64_t window = k < 16 ? 0 : (k - 16) / 8 + 1, begin = window * 8;
      std::vector<int32_t> ids;
      for (int64_t i = begin; i <= k; ++i)
        ids.push_back(i == 0 ? kBos : (unsigned char)text[i - 1]);
      Matrix logits = full_logits(model, ids);
      const int32_t target = (unsigned char)text[k];
      float expected;
      cross_entropy(logits.view().row_range(k - begin, 1), {&target, 1}, &expected);
      ASSERT_NEAR(nats[k], expected, 1e-3 * std::max(1.0f, expected)) << n << " " << k;
      expected_total += expected;
    }
    EXPECT_NEAR(score.nats, expected_total, 1e-3 * expected_total);
    if (n > 100) break;
  }
}

TEST(Sampler, FiltersInTheDocumentedOrder) {
  std::vector<float> logits(kVocab, -100.0f);
  logits[10] = std::log(0.5f), logits[20] = std::log(0.3f), logits[30] = std::log(0.15f);
  logits[40] = std::log(0.05f), logits[kBos] = 50.0f;
  const auto tokens = [&](SamplingOptions o) {
    std::vector<int32_t> t;
    double sum = 0;
    for (const Candidate& c : candidates(logits, o)) t.push_back(c.token), sum += c.probability;
    EXPECT_NEAR(sum, 1.0, 1e-9);
    return t;
  };
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(tokens({.temperature = 0}), (Tokens{10}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 2}), (Tokens{10, 20}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 0, .top_p = 0.7}), (Tokens{10, 20}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 0, .min_p = 0.25}), (Tokens{10, 20, 30}));
  // top-p works on what top-k left, renormalised: 0.5/0.8 alone reaches 0.6.
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 2, .top_p = 0.6}), (Tokens{10}));
}

TEST(Sampler, DrawsInProportionAndNeverBos) {
  std::vector<float> logits(kVocab, -INFINITY);
  logits[1] = std::log(0.7f), logits[2] = std::log(0.3f), logits[kBos] = 10.0f;
  Rng rng(1);
  std::map<int32_t, int> counts;
  for (int i = 0; i < 10000; ++i) ++counts[sample(logits, {.temperature = 1, .top_k = 0}, rng)];
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts[1], 7000, 200);  // four standard deviations
}

TEST(Sampler, WhatIsNotANumberComesLast) {
  std::vector<float> logits(kVocab, std::nanf(""));
  Rng rng(1);
  for (const int64_t top_k : {0, 3, 40})
    for (const double temperature : {0.0, 1.0}) {
      SamplingOptions options;
      options.temperature = temperature;
      options.top_k = top_k;
      const int32_t any = sample(logits, options, rng);
      EXPECT_TRUE(any >= 0 && any < kVocab && any != kBos);
      std::vector<float> some = logits;
      some[7] = some[200] = -5.0f;
      for (int i = 0; i < 20; ++i) {
        const int32_t token = sample(some, options, rng);
        EXPECT_TRUE(token == 7 || token == 200) << token;
      }
    }
}

TEST(StopFilter, HoldsBackWhatCouldBecomeAStop) {
  StopFilter filter({"</s>", "\n\n"});
  EXPECT_EQ(filter.push("a<"), "a");
  EXPECT_EQ(filter.push("/"), "");
  EXPECT_EQ(filter.push("x"), "</x");
  EXPECT_EQ(filter.push("\n"), "");
  EXPECT_EQ(filter.push("b\nc\n\nd"), "\nb\nc");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.flush(), "");
}

TEST(Generate, SameSeedSameTextWhateverTheThreads) {
  const Model model = random_model({1, 2, 4}, 32);
  GenerateOptions options;
  options.max_new_tokens = 80;
  options.seed = 42;
  const auto text = [&] {
    std::string streamed;
    const Generation g = generate(model, "def f", options, [&](std::string_view t) {
      streamed += t;
      return true;
    });
    EXPECT_EQ(streamed, g.text);
    return g.text;
  };
  const int threads = max_threads();
  set_num_threads(1);
  const std::string one = text();
  set_num_threads(3);
  const std::string three = text();
  set_num_threads(threads);
  EXPECT_EQ(one, three);
  EXPECT_EQ(one, text());
  options.seed = 43;
  EXPECT_NE(one, text());
}

}  // namespace
}  // namespace axl
