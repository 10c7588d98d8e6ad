#include "axl/infer/fill_in_middle.h"

#include <gtest/gtest.h>

#include <string>

#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/base/tokens.h"

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

TEST(FillInMiddlePrompt, IsTheSuffixThenThePrefixThenTheMarkOfTheMiddle) {
  const FillPrompt prompt = fill_in_middle_prompt("ab", "cde", 256, 100);
  EXPECT_EQ(shown(prompt), "ScdePabM");
  EXPECT_EQ(prompt.prefix_dropped, 0);
  EXPECT_EQ(prompt.suffix_dropped, 0);
  EXPECT_EQ(shown(fill_in_middle_prompt("", "", 256, 100)), "SPM");
  EXPECT_EQ(fill_in_middle_prompt("\xff", "\x80", 256, 9).tokens,
            (std::vector<int32_t>{kFimSuffix, 0x80, kFimPrefix, 0xff, kFimMiddle}));
}

TEST(FillInMiddlePrompt, KeepsTheBytesNextToTheGap) {
  // 24 tokens, of them BOS, three marks and 8 to write: 12 bytes, of which the suffix has 3.
  const FillPrompt prompt = fill_in_middle_prompt("abcdefghijklmn", "opqrstuv", 24, 8);
  EXPECT_EQ(shown(prompt), "SopqPfghijklmnM");
  EXPECT_EQ(prompt.prefix_dropped, 5);
  EXPECT_EQ(prompt.suffix_dropped, 5);
}

TEST(FillInMiddlePrompt, GivesTheSuffixWhatAShortPrefixLeaves) {
  EXPECT_EQ(shown(fill_in_middle_prompt("ab", "opqrstuvwxyz", 24, 8)), "SopqrstuvwxPabM");
  EXPECT_EQ(shown(fill_in_middle_prompt("abcdefghijklmn", "o", 24, 8)), "SoPdefghijklmnM");
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

}  // namespace
}  // namespace axl
