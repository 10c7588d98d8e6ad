#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "axl/base/format.h"
#include "data_testing.h"

namespace axl {
namespace {

/// A corpus whose stream has exactly `tokens` tokens, all of one document.
Corpus corpus_of(const Scratch& scratch, int64_t tokens) {
  Rng rng(tokens);
  const std::string text = random_bytes(rng, tokens - 2);
  return Corpus({{scratch.put(format("{}.py", tokens), text), text.size()}});
}

/// Each window's ids and last target, window by window.
std::vector<std::vector<int32_t>> windows_of(const WindowSampler& sampler, int64_t first_step,
                                             int64_t steps) {
  std::vector<std::vector<int32_t>> windows;
  TokenBatch batch;
  for (int64_t step = first_step; step < first_step + steps; ++step) {
    sampler.fill(step, batch);
    for (int64_t b = 0; b < batch.sequences; ++b) {
      const auto row = batch.ids.begin() + b * batch.length;
      windows.emplace_back(row, row + batch.length);
      windows.back().push_back(batch.targets[(b + 1) * batch.length - 1]);
    }
  }
  return windows;
}

TEST(WindowSampler, PredictsEachTokenExactlyOncePerEpoch) {
  const Scratch scratch;
  // Every document is one pair of bytes that names its number, so that a window's place is known.
  Stream stream;
  for (int i = 0; i < 300; ++i) {
    const std::string text = {static_cast<char>(i / 256), static_cast<char>(i % 256)};
    scratch.put(format("{:03}.py", i), text);
    append_document(stream, text);
  }
  const Corpus corpus(scratch.files());
  std::map<std::vector<int>, int64_t> place;
  for (const int64_t length : {8, 16, 61, 64, 599, 1199}) {
    place.clear();
    for (size_t i = 0; i + length <= stream.size(); ++i) {
      std::vector<int> ids;
      for (int64_t j = 0; j < length; ++j) ids.push_back(stream[i + j].id);
      ASSERT_TRUE(place.emplace(ids, i).second);
    }
    const WindowSampler sampler(corpus, length, 1, 7);
    const int64_t windows = sampler.windows_per_epoch();
    ASSERT_EQ(windows, (static_cast<int64_t>(stream.size()) - 1) / length);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int> predicted(stream.size());
      TokenBatch batch;
      for (int64_t step = epoch * windows; step < (epoch + 1) * windows; ++step) {
        sampler.fill(step, batch);
        const int64_t begin = place.at(batch.ids);
        for (int64_t j = 0; j < length; ++j) {
          const Token& next = stream[begin + j + 1];
          ASSERT_EQ(batch.targets[j], next.scored ? next.id : -1);
          ++predicted[begin + j + 1];
        }
      }
      const auto first = std::find(predicted.begin(), predicted.end(), 1);
      const auto end = first + windows * length;
      EXPECT_TRUE(std::all_of(first, end, [](int n) { return n == 1; })) << "length " << length;
      EXPECT_EQ(std::accumulate(predicted.begin(), predicted.end(), 0), windows * length);
      EXPECT_LT(predicted.size() - windows * length, static_cast<size_t>(length) + 1);
    }
  }
}

TEST(WindowSampler, TellsWhichInputsAreOfOddDocuments) {
  const Scratch scratch;
  // Documents of 4 to 6 tokens that begin with their number; windows begin anywhere within them.
  std::vector<int> document_of;
  Stream stream;
  for (int i = 0; i < 200; ++i) {
    const std::string text = static_cast<char>(i) + std::string(i % 3 + 1, 'x');
    scratch.put(format("{:03}.py", i), text);
    append_document(stream, text);
    document_of.resize(stream.size(), i);
  }
  const Corpus corpus(scratch.files());
  for (size_t i = 0; i < stream.size(); ++i) ASSERT_EQ(corpus.document_at(i), document_of[i]);
  for (const int64_t length : {1, 7, 61}) {
    const WindowSampler sampler(corpus, length, 2, 3);
    TokenBatch batch;
    int64_t odd = 0, seen = 0;
    for (int64_t step = 0; step < sampler.windows_per_epoch(); ++step) {
      sampler.fill(step, batch);
      for (int64_t b = 0; b < batch.sequences; ++b) {
        int document = -1;  // known from the first number in the window on
        for (int64_t i = 1; i < length; ++i) {
          const int32_t* ids = batch.ids.data() + b * length;
          if (ids[i - 1] == kBos) document = ids[i];
          if (ids[i] == kBos) document = -1;
          if (document < 0) continue;
          ASSERT_EQ(batch.odd[b * length + i], document % 2);
          // The same document's inputs before its number, back to the window's beginning.
          if (ids[i - 1] == kBos) {
            ASSERT_EQ(batch.odd[b * length + i - 1], document % 2);
            for (int64_t j = i - 2; j >= 0 && ids[j] != kBos; --j)
              ASSERT_EQ(batch.odd[b * length + j], 1 - document % 2);
          }
          odd += document % 2, ++seen;
        }
      }
    }
    EXPECT_GE(odd, seen / 3);
    EXPECT_EQ(seen > 0, length > 1);
  }
}

TEST(Corpus, SaysWhereADocumentBegins) {
  const Scratch scratch;
  for (int i = 0; i < 5; ++i) scratch.put(format("{}.py", i), std::string(i + 1, 'x'));
  const Corpus corpus(scratch.files());
  const uint64_t begins[] = {0, 3, 7, 12, 18, 25};
  for (int i = 0; i <= 5; ++i) EXPECT_EQ(corpus.document_begin(i), begins[i]);
  EXPECT_EQ(corpus.tokens(), 25u);
}

TEST(WindowSampler, AStreamOfOneWindowIsThatWindowAtEveryStep) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 33);
  const WindowSampler sampler(corpus, 32, 1, 5);
  EXPECT_EQ(sampler.windows_per_epoch(), 1);
  const Stream stream = read_all(corpus);
  for (const auto& window : windows_of(sampler, 0, 5)) {
    for (int i = 0; i < 33; ++i) EXPECT_EQ(window[i], stream[i].id);
  }
}

TEST(WindowSampler, AnyStepMayBeAskedForInAnyOrder) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 1000);
  const WindowSampler forward(corpus, 16, 3, 11), backward(corpus, 16, 3, 11);
  std::vector<std::vector<std::vector<int32_t>>> seen;
  for (int64_t step = 0; step < 100; ++step) seen.push_back(windows_of(forward, step, 1));
  for (int64_t step = 99; step >= 0; --step) {
    ASSERT_EQ(windows_of(backward, step, 1), seen[step]) << "step " << step;
  }
}

TEST(WindowSampler, SeedAndEpochChangeTheOrder) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 1000);
  const WindowSampler one(corpus, 16, 1, 1), two(corpus, 16, 1, 2);
  const int64_t windows = one.windows_per_epoch();
  EXPECT_NE(windows_of(one, 0, windows), windows_of(two, 0, windows));
  EXPECT_NE(windows_of(one, 0, windows), windows_of(one, windows, windows));
}

TEST(WindowSampler, EpochsBeginAtEveryPhase) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 21 + 3);  // one window of 20 + 1, three left over
  const WindowSampler sampler(corpus, 20, 1, 1);
  std::set<std::vector<int32_t>> distinct;
  for (const auto& window : windows_of(sampler, 0, 100)) distinct.insert(window);
  EXPECT_EQ(distinct.size(), 4u);
}

TEST(WindowSampler, TheBatchSizeOnlyGroupsTheWindows) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 500);
  const WindowSampler by_one(corpus, 16, 1, 3), by_seven(corpus, 16, 7, 3);
  EXPECT_EQ(windows_of(by_one, 0, 140), windows_of(by_seven, 0, 20));
}

TEST(WindowSampler, NeverScoresBosNorPads) {
  const Scratch scratch;
  for (int i = 0; i < 50; ++i) scratch.put(format("{}.py", i), std::string(i % 7 + 1, 'x'));
  const Corpus corpus(scratch.files());
  const WindowSampler sampler(corpus, 9, 4, 3);
  TokenBatch batch;
  int64_t unscored = 0;
  for (int64_t step = 0; step < 50; ++step) {
    sampler.fill(step, batch);
    ASSERT_EQ(batch.ids.size(), 36u);
    for (size_t i = 0; i + 1 < batch.ids.size(); ++i) {
      ASSERT_TRUE(batch.ids[i] >= 0 && batch.ids[i] < kVocab);
      ASSERT_NE(batch.targets[i], kBos);
      // In a plain corpus a target is missing exactly after EOS, where BOS follows.
      ASSERT_EQ(batch.targets[i] == -1, batch.ids[i] == kEos);
      unscored += batch.targets[i] == -1;
    }
  }
  EXPECT_GT(unscored, 0);
}

TEST(WindowSampler, RefusesACorpusSmallerThanAWindow) {
  const Scratch scratch;
  const Corpus corpus = corpus_of(scratch, 32);
  EXPECT_NO_THROW(WindowSampler(corpus, 31, 1, 0));
  const std::string message = error_of([&] { WindowSampler(corpus, 32, 1, 0); });
  EXPECT_HAS(message, "32 tokens");
  EXPECT_HAS(message, "33");
}

}  // namespace
}  // namespace axl
