// The recall memory against a plain count of the same text.
#include "axl/model/recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "axl/base/rng.h"
#include "axl/model/lookup.h"

namespace axl {
namespace {

using Tokens = std::vector<int32_t>;

Tokens tokens_of(std::string_view text) { return {text.begin(), text.end()}; }

Recall::Entry find(const Recall& recall, int64_t order_index, const Tokens& context) {
  return recall.find(order_index, hash_tokens(context.data(), context.size()));
}
Recall::Entry find(const Recall& recall, int64_t order_index, std::string_view context) {
  return find(recall, order_index, tokens_of(context));
}

void expect_entry(const Recall::Entry& e, int first, int first_count, int second = 0,
                  int second_count = 0) {
  EXPECT_EQ(e.first, first);
  EXPECT_EQ(e.first_count, first_count);
  EXPECT_EQ(e.second_count, second_count);
  if (second_count > 0) {
    EXPECT_EQ(e.second, second);
  }
}

bool same_slots(const Recall& a, const Recall& b) {
  return std::equal(a.data(0), a.data(0) + a.slots() * a.orders().size(), b.data(0));
}

/// True counts of what followed each context, for as many contexts as there are.
struct Counts {
  std::vector<int64_t> orders;
  std::vector<std::map<Tokens, std::map<int32_t, int>>> tables{orders.size()};

  void observe(const Tokens& text) {
    for (size_t i = 0; i < text.size(); ++i) {
      bool shorter_known = true;
      for (size_t o = 0; o < orders.size(); ++o) {
        if (static_cast<int64_t>(i) < orders[o] || text[i] >= 256) break;
        const Tokens context(text.begin() + i - orders[o], text.begin() + i);
        const bool known = tables[o].contains(context);
        if (known || shorter_known) ++tables[o][context][text[i]];
        shorter_known = known;
      }
    }
  }
};

/// Text of `letters` letters, the first the most frequent, with marks at its ends and one inside.
Tokens random_text(int64_t n, int letters, uint64_t seed) {
  Tokens text{kBos};
  Rng rng(seed);
  while (static_cast<int64_t>(text.size()) < n)
    text.push_back(
        text.size() == 50 ? kEos : 'a' + static_cast<int32_t>(rng.below(1 + rng.below(letters))));
  return text;
}

TEST(Recall, AgreesWithTrueCountsWhereTheyAreUnambiguous) {
  Counts truth{.orders = {1, 2, 3, 5}};
  Recall recall({truth.orders, 18});
  for (uint64_t seed : {1, 2, 3}) {
    const Tokens text = random_text(100, 24, seed);
    truth.observe(text);
    recall.observe(text, 0);
  }
  int two_bytes = 0, majorities = 0;
  for (size_t o = 0; o < truth.orders.size(); ++o) {
    EXPECT_FALSE(truth.tables[o].empty());
    for (const auto& [context, followers] : truth.tables[o]) {
      std::vector<std::pair<int, int32_t>> ranked;  // count, byte
      int all = 0;
      for (const auto& [byte, count] : followers) ranked.push_back({count, byte}), all += count;
      std::sort(ranked.rbegin(), ranked.rend());
      const Recall::Entry e = find(recall, o, context);
      ASSERT_GT(e.first_count, 0);
      ASSERT_LE(e.second_count, e.first_count);
      if (ranked.size() == 1) {
        expect_entry(e, ranked[0].second, ranked[0].first);
      } else if (ranked.size() == 2 && ranked[0].first > ranked[1].first) {
        ++two_bytes;
        expect_entry(e, ranked[0].second, ranked[0].first, ranked[1].second, ranked[1].first);
      } else if (2 * ranked[0].first > all) {
        ++majorities;
        EXPECT_EQ(e.first, ranked[0].second);
      }
    }
  }
  EXPECT_GT(two_bytes, 3);
  EXPECT_GT(majorities, 0);
}

TEST(Recall, KnowsNothingThatItHasNotSeen) {
  EXPECT_TRUE(Recall().empty());
  const Recall recall({{1, 3}, 8});
  EXPECT_FALSE(recall.empty());
  for (int byte = 0; byte < 256; ++byte)
    EXPECT_EQ(find(recall, 0, Tokens{byte}).first_count, 0) << byte;
  EXPECT_EQ(find(recall, 1, "abc").first_count, 0);
}

TEST(Recall, TakesUpALongContextOnlyOnceTheShorterIsKnown) {
  Recall recall({{1, 2}, 12});
  recall.observe(tokens_of("abx"), 0);  // "b" is new, so that "ab" is not taken up
  expect_entry(find(recall, 0, "b"), 'x', 1);
  EXPECT_EQ(find(recall, 1, "ab").first_count, 0);
  recall.observe(tokens_of("aby"), 0);
  expect_entry(find(recall, 1, "ab"), 'y', 1);
  recall.observe(tokens_of("cby"), 0);
  expect_entry(find(recall, 1, "cb"), 'y', 1);
}

TEST(Recall, MarksArePartOfContextsAndNeverCounted) {
  Recall recall({{1, 2}, 12});
  for (int i = 0; i < 3; ++i) recall.observe(Tokens{kBos, 'a', kEos, kBos, 'a', kEos}, 0);
  EXPECT_EQ(find(recall, 0, "a").first_count, 0);
  EXPECT_EQ(find(recall, 0, Tokens{kEos}).first_count, 0);
  expect_entry(find(recall, 0, Tokens{kBos}), 'a', 6);
  expect_entry(find(recall, 1, Tokens{kEos, kBos}), 'a', 3);
}

TEST(Recall, CountsAreHalvedAndKeepTheirRatio) {
  Recall recall({{1}, 12});
  for (int round = 1; round <= 200; ++round) {
    for (int32_t byte : {'x', 'x', 'y', 'x'}) recall.observe(Tokens{'a', byte}, 0);
    const Recall::Entry e = find(recall, 0, "a");
    ASSERT_EQ(e.first, 'x');
    ASSERT_EQ(e.second, 'y');
    ASSERT_LE(e.first_count, 15);
    ASSERT_GE(e.first_count, std::min(3 * round, 8));
    ASSERT_GE(e.first_count, 2 * e.second_count);
    ASSERT_LE(e.first_count, 5 * e.second_count);
  }
}

TEST(Recall, WhatComesMoreOftenOfLateTakesTheFirstPlace) {
  Recall recall({{1}, 12});
  for (int i = 0; i < 15; ++i) recall.observe(Tokens{'a', 'x'}, 0);
  for (int i = 0; i < 16; ++i) recall.observe(Tokens{'a', 'y'}, 0);
  // The sixteenth passes a full count, which halves both.
  expect_entry(find(recall, 0, "a"), 'y', 8, 'x', 7);
}

TEST(Recall, AFullTableKeepsFrequentContexts) {
  Recall recall({{3}, 8});  // 256 slots for 20000 contexts
  Rng rng(1);
  Tokens text;
  for (int i = 0; i < 1000; ++i) {
    for (int32_t byte : tokens_of("fre?")) text.push_back(byte);
    for (int j = 0; j < 16; ++j) text.push_back(rng.below(256));
  }
  recall.observe(text, 0);
  const Recall::Entry e = find(recall, 0, "fre");
  EXPECT_EQ(e.first, '?');
  EXPECT_GE(e.first_count, 8);
}

TEST(Recall, InPortionsItObservesTheSame) {
  const Tokens text = random_text(700, 5, 1);
  Recall whole({{1, 2, 4}, 8});  // too small: the order of what comes in matters
  whole.observe(text, 0);
  for (const size_t portion : {1, 7, 32, 33, 650}) {
    Recall parts({{1, 2, 4}, 8});
    for (size_t from = 0; from < text.size(); from += portion)
      parts.observe(std::span(text).first(std::min(text.size(), from + portion)), from);
    EXPECT_TRUE(same_slots(parts, whole)) << portion;
  }
}

TEST(Recall, MergingAddsCounts) {
  const RecallConfig shape{{3}, 14};
  Recall both(shape), one(shape), other(shape);
  Counts truth{.orders = {3}};
  for (int half = 0; half < 2; ++half)
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Tokens text = random_text(300, 10, 10 * half + seed);
      both.observe(text, 0);
      (half ? other : one).observe(text, 0);
      truth.observe(text);
    }
  one.merge(other);
  int unambiguous = 0;
  for (const auto& [context, followers] : truth.tables[0]) {
    const Recall::Entry merged = find(one, 0, context), expected = find(both, 0, context);
    ASSERT_GT(merged.first_count, 0);
    if (followers.size() > 2) continue;
    const auto& [byte, count] = *followers.begin();
    const int last = followers.rbegin()->second;
    if (followers.size() == 2 && count == last) continue;
    ++unambiguous;
    expect_entry(merged, expected.first, expected.first_count, expected.second,
                 expected.second_count);
    EXPECT_EQ(merged.first_count + merged.second_count,
              followers.size() == 1 ? count : count + last);
  }
  EXPECT_GT(unambiguous, 20);
}

TEST(Recall, MergingRanksTheSums) {
  Recall one({{1}, 12}), other({{1}, 12});
  for (int32_t byte : tokens_of("xxxxxxy")) one.observe(Tokens{'a', byte}, 0);
  for (int32_t byte : tokens_of("yyyyyyyx")) other.observe(Tokens{'a', byte}, 0);
  one.merge(other);
  expect_entry(find(one, 0, "a"), 'y', 8, 'x', 7);
}

TEST(Recall, MergingIntoNothingCopiesAndOfNothingChangesNothing) {
  const RecallConfig shape{{1, 2, 4}, 8};
  Recall filled(shape), copy(shape);
  filled.observe(random_text(700, 5, 1), 0);
  copy.merge(filled);
  for (int64_t o = 0; o < 3; ++o) {  // slots of a bucket may change places
    std::vector<uint32_t> a(copy.data(o), copy.data(o) + copy.slots());
    std::vector<uint32_t> b(filled.data(o), filled.data(o) + filled.slots());
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    EXPECT_EQ(a, b) << o;
  }
  Recall again(shape);
  again.observe(random_text(700, 5, 1), 0);
  again.merge(Recall(shape));
  EXPECT_TRUE(same_slots(again, filled));
}

TEST(Recall, MergingFullTablesKeepsFrequentContexts) {
  const RecallConfig shape{{2}, 8};
  Recall one(shape), other(shape);
  Rng rng(1);
  for (int i = 0; i < 4000; ++i)
    for (Recall* r : {&one, &other})
      r->observe(Tokens{int32_t(rng.below(256)), int32_t(rng.below(256)), 'r'}, 0);
  for (int i = 0; i < 12; ++i) other.observe(tokens_of("abx"), 0);
  one.merge(other);
  const Recall::Entry e = find(one, 0, "ab");
  EXPECT_EQ(e.first, 'x');
  EXPECT_GE(e.first_count, 8);
}

}  // namespace
}  // namespace axl
