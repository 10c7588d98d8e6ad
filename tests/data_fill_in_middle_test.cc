// Windows whose texts are cut into prefix, suffix and middle (train.fim_rate).
#include <gtest/gtest.h>

#include <algorithm>

#include "axl/base/format.h"
#include "data_testing.h"

namespace axl {
namespace {

/// A window as it was read: targets are the tokens after the first, where they are scored.
struct Window {
  std::vector<int32_t> ids, targets;
  std::vector<uint8_t> odd;
  bool operator==(const Window&) const = default;
};
using Windows = std::vector<Window>;

Windows windows_of(const WindowSampler& sampler, int64_t first_step, int64_t steps) {
  Windows windows;
  TokenBatch batch;
  for (int64_t step = first_step; step < first_step + steps; ++step) {
    sampler.fill(step, batch);
    for (int64_t b = 0; b < batch.sequences; ++b) {
      const int64_t begin = b * batch.length, end = begin + batch.length;
      windows.push_back({{batch.ids.begin() + begin, batch.ids.begin() + end},
                         {batch.targets.begin() + begin, batch.targets.begin() + end},
                         {batch.odd.begin() + begin, batch.odd.begin() + end}});
    }
  }
  return windows;
}

/// Files of letters and digits, of lengths from 0 to 200 bytes.
std::vector<CorpusFile> plain_files(const Scratch& scratch, int count = 150) {
  Rng rng(count);
  for (int i = 0; i < count; ++i) {
    std::string text(1 + rng.below(200), ' ');
    for (char& byte : text) byte = static_cast<char>('0' + rng.below(75));
    scratch.put(format("{:03}.py", i), text);
  }
  return scratch.files();
}

/// Where the pieces of documents begin, and the window's end.
std::vector<size_t> piece_begins(const std::vector<int32_t>& ids) {
  std::vector<size_t> begins{0};
  for (size_t i = 1; i < ids.size(); ++i)
    if (ids[i] == kBos) begins.push_back(i);
  begins.push_back(ids.size());
  return begins;
}

using Bytes = std::vector<int32_t>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// What stands after `mark`, up to the next mark or the end.
Bytes part(const Bytes& piece, int32_t mark) {
  const auto begin = std::find(piece.begin(), piece.end(), mark) + 1;
  return {begin, std::find_if(begin, piece.end(), [](int32_t t) { return t > 0xF7; })};
}

Bytes text_of(Bytes piece) {
  std::erase_if(piece, [](int32_t token) { return token >= kBos; });
  return piece;
}

class FilledWindows : public testing::Test {
 protected:
  static constexpr int64_t kLength = 64;
  WindowSampler sampler(double rate, uint64_t seed = 5, int64_t batch = 1) const {
    return WindowSampler(corpus_, kLength, batch, seed, rate);
  }

  const Scratch scratch_;
  const Corpus corpus_{plain_files(scratch_)};
};

// Of each window's tokens the inputs are looked at, so its last piece may lack its end.
TEST_F(FilledWindows, HoldTheSameTextAsPrefixSuffixAndMiddle) {
  const int64_t windows = sampler(0).windows_per_epoch();
  const Windows plain = windows_of(sampler(0), 0, windows);
  const Windows filled = windows_of(sampler(1), 0, windows);
  int64_t count = 0, suffix_first = 0, no_suffix = 0;
  for (size_t w = 0; w < plain.size(); ++w) {
    const std::vector<size_t> begins = piece_begins(plain[w].ids);
    for (size_t p = 0; p + 2 < begins.size(); ++p) {
      const auto piece = [&](const Window& from) {
        return Bytes(from.ids.begin() + begins[p], from.ids.begin() + begins[p + 1]);
      };
      const Bytes before = piece(plain[w]), after = piece(filled[w]);
      if (std::ssize(before) < kShortestFill) {
        ASSERT_EQ(after, before);
        continue;
      }
      Bytes text = text_of(before);
      text.resize(before.size() - 5);
      const Bytes prefix = part(after, kFimPrefix), suffix = part(after, kFimSuffix);
      const Bytes rest = part(after, kFimMiddle);
      ASSERT_EQ(prefix + rest + suffix, text);
      const Bytes whole = Bytes{kBos, kFimPrefix} + prefix + Bytes{kFimSuffix} + suffix +
                          Bytes{kFimMiddle} + rest + Bytes{kEos};
      ASSERT_EQ(after, whole);
      ++count;
      suffix_first += prefix.empty();
      no_suffix += suffix.empty();
    }
  }
  ASSERT_GT(count, 100);
  EXPECT_NEAR(static_cast<double>(suffix_first) / count, 0.5, 0.15);
  EXPECT_GT(no_suffix, 0);
  EXPECT_LT(no_suffix, count / 4);
}

TEST_F(FilledWindows, AreScoredOnTextAndEndsAlone) {
  for (const Window& window : windows_of(sampler(1), 0, 200)) {
    for (int64_t i = 0; i + 1 < kLength; ++i) {
      const int32_t next = window.ids[i + 1];
      const bool mark =
          next == kBos || next == kFimPrefix || next == kFimSuffix || next == kFimMiddle;
      ASSERT_EQ(window.targets[i], mark ? -1 : next);
    }
  }
}

TEST_F(FilledWindows, EndWithTheirLastTarget) {
  // A single document, so that each window is one piece.
  const Scratch scratch;
  const std::string text(1000, 'x');
  const Corpus corpus({{scratch.put("a.py", text), text.size()}});
  const WindowSampler sampler(corpus, kLength, 1, 5, 1);
  for (const Window& window : windows_of(sampler, 0, 50)) {
    ASSERT_EQ(window.ids[0], kBos);
    ASSERT_EQ(window.targets.back(), kEos);
  }
}

TEST_F(FilledWindows, AreAsManyAsTheRateSays) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    int64_t changed = 0, eligible = 0;
    const Windows plain = windows_of(sampler(0), 0, 3000), all = windows_of(sampler(1), 0, 3000);
    const Windows some = windows_of(sampler(rate), 0, 3000);
    for (size_t w = 0; w < plain.size(); ++w) {
      // The first piece of each window, because what was drawn for it decides on the others.
      const size_t end = piece_begins(plain[w].ids)[1];
      const auto differs = [&](const Window& from) {
        return !std::equal(from.ids.begin(), from.ids.begin() + end, plain[w].ids.begin());
      };
      eligible += differs(all[w]);
      changed += differs(some[w]);
    }
    ASSERT_GT(eligible, 1000);
    EXPECT_NEAR(static_cast<double>(changed) / eligible, rate, 0.04);
  }
}

TEST_F(FilledWindows, BelongToTheDocumentsThatTheyWereOf) {
  const Windows plain = windows_of(sampler(0), 0, 200), filled = windows_of(sampler(1), 0, 200);
  for (size_t w = 0; w < plain.size(); ++w) ASSERT_EQ(filled[w].odd, plain[w].odd);
}

TEST_F(FilledWindows, DependOnSeedAndStepAlone) {
  const Windows expected = windows_of(sampler(0.5), 0, 700);
  const WindowSampler backward = sampler(0.5);
  for (int64_t step = 699; step >= 0; --step)
    ASSERT_EQ(windows_of(backward, step, 1).front(), expected[step]);
  EXPECT_TRUE(windows_of(sampler(0.5, 5, 7), 0, 100) == expected);
  EXPECT_FALSE(windows_of(sampler(0.5, 6), 0, 700) == expected);
}

TEST_F(FilledWindows, AreCutElsewhereInTheNextEpoch) {
  const Scratch scratch;
  const std::string text = "0123456789abcdefghijklmnopqrstuvwxyz";
  const Corpus corpus({{scratch.put("a.py", text), text.size()}});
  const WindowSampler sampler(corpus, 37, 1, 5, 1);  // the whole stream is one window
  EXPECT_FALSE(windows_of(sampler, 0, 1) == windows_of(sampler, 1, 1));
}

TEST_F(FilledWindows, LeavePairsAndTextsWithMarksAsTheyAre) {
  const Scratch scratch;
  const std::string letters(60, 'x');
  std::string records;
  for (int i = 0; i < 20; ++i)
    records += format(R"({{"source_code": "{}", "target_code": "{}"}})", letters, letters) + "\n";
  scratch.put("0.jsonl", records);
  for (const char mark : {'\xF8', '\xF9', '\xFA'})
    scratch.put(format("{}.py", static_cast<unsigned char>(mark)), std::string(200, mark));
  const Corpus corpus(scratch.files());
  EXPECT_TRUE(corpus.is_pair(0));
  EXPECT_FALSE(corpus.is_pair(20));
  const WindowSampler never(corpus, 40, 1, 1, 0), always(corpus, 40, 1, 1, 1);
  EXPECT_TRUE(windows_of(never, 0, 100) == windows_of(always, 0, 100));
}

}  // namespace
}  // namespace axl
