#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "axl/base/error.h"
#include "axl/base/hash.h"
#include "axl/base/rng.h"
#include "axl/base/text.h"
#include "temp_dir.h"

namespace axl {
namespace {

TEST(Check, ThrowsInternalErrorNamingTheCondition) {
  EXPECT_NO_THROW(AXL_CHECK(1 + 1 == 2));
  const auto message = message_of<InternalError>([] { AXL_CHECK(1 + 1 == 3); });
  EXPECT_HOLDS(message, "1 + 1 == 3");
  EXPECT_HOLDS(message, "base_test.cc");
}

// ---- Hash ---------------------------------------------------------------------------------------

TEST(Hash, HasTheValuesOfXxh3) {
  EXPECT_EQ(hash64(""), 0x2D06800538D394C2u);
  EXPECT_EQ(hash64("abc"), 0x78AF5F94892F3950u);
  EXPECT_NE(hash64("abc", 1), hash64("abc"));
}

TEST(Hash, StreamingInAnyPiecesEqualsOneCall) {
  std::string text(5000, '\0');
  std::iota(text.begin(), text.end(), '\0');
  for (const size_t piece : {1, 7, 64, 1000, 5000}) {
    Hasher hasher;
    hasher.update(std::string_view());
    for (size_t i = 0; i < text.size(); i += piece) hasher.update(text.substr(i, piece));
    EXPECT_EQ(hasher.digest(), hash64(text)) << piece;
    EXPECT_EQ(hasher.digest(), hash64(text)) << "digest() must not change the state";
  }
}

// ---- Random numbers -----------------------------------------------------------------------------

TEST(Rng, Mix64HasTheValuesOfSplitMix64) {
  EXPECT_EQ(mix64(0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(mix64(1234567), 6457827717110365317u);
}

// From an implementation in Python that also gives the published outputs for state 1, 2, 3, 4.
TEST(Rng, HasTheValuesOfXoshiro256PlusPlus) {
  Rng a(0), b(42), c(42, 7);
  for (const uint64_t want : {0x3ed1653f0682083au, 0x852cecd8e7418ff7u, 0x8deb058ebaf6ffc3u}) {
    EXPECT_EQ(a.next(), want);
  }
  for (const uint64_t want : {0xde5a8312db6dcfc3u, 0xa66dd5b98df79e6bu, 0xc134b62569114b8au}) {
    EXPECT_EQ(b.next(), want);
  }
  for (const uint64_t want : {0x09ea87839ff44b3au, 0xcc79c7e746c8cf71u, 0xf6da2f117435fe97u}) {
    EXPECT_EQ(c.next(), want);
  }
}

TEST(Rng, UniformIsInRangeWithMeanAHalf) {
  Rng rng(1);
  double sum = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
}

TEST(Rng, BelowIsUniformAndReachesEveryValue) {
  Rng rng(2);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(rng.below(7));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(rng.below(1), 0u);
  // 2^64 is 4/3 of this n: without rejection every third result would come twice as often.
  const uint64_t n = uint64_t{3} << 62;
  int thirds = 0;
  for (int i = 0; i < 30000; ++i) thirds += rng.below(n) % 3 == 0;
  EXPECT_NEAR(thirds, 10000, 400);
  EXPECT_THROW(rng.below(0), InternalError);
}

TEST(Rng, NormalHasMomentsOfTheStandardNormal) {
  Rng rng(3);
  double sum = 0, squares = 0, fourths = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    fourths += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1, 0.02);
  EXPECT_NEAR(fourths / kDraws, 3, 0.15);
}

TEST(Permutation, IsABijection) {
  for (const uint64_t n : {1, 2, 3, 4, 5, 15, 16, 17, 255, 1000, 4097}) {
    std::set<uint64_t> seen;
    const Permutation permutation(n, 9);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permutation(i);
      ASSERT_LT(image, n);
      seen.insert(image);
    }
    EXPECT_EQ(seen.size(), n);
  }
}

TEST(Permutation, DependsOnTheSeedAndLeavesFewInPlace) {
  constexpr uint64_t kN = 10000;
  const Permutation a(kN, 1), b(kN, 2);
  int fixed = 0, same = 0;
  for (uint64_t i = 0; i < kN; ++i) {
    fixed += a(i) == i;
    same += a(i) == b(i);
  }
  EXPECT_LT(fixed, 10);  // one expected
  EXPECT_LT(same, 10);
}

TEST(Permutation, WorksOnTheLargestDomainAndRefusesIndicesOutside) {
  const uint64_t n = std::numeric_limits<uint64_t>::max();
  EXPECT_LT(Permutation(n, 5)(n - 1), n);
  EXPECT_THROW(Permutation(3, 5)(3), InternalError);
  EXPECT_THROW(Permutation(0, 5)(0), InternalError);
}

// ---- Text ---------------------------------------------------------------------------------------

TEST(Text, NearestForgivesTypingErrors) {
  const std::vector<std::string> names = {"temperature", "top-k", "top-p", "seed", "max-time"};
  EXPECT_EQ(nearest("temprature", names), "temperature");
  EXPECT_EQ(nearest("sede", names), "seed");
  EXPECT_EQ(nearest("maxtime", names), "max-time");
  EXPECT_EQ(nearest("top-k", names), "top-k");
  EXPECT_EQ(did_you_mean("seeed", names), "; did you mean 'seed'?");
}

TEST(Text, NearestDoesNotGuessWildly) {
  const std::vector<std::string> names = {"lr", "seed", "a"};
  EXPECT_EQ(nearest("optimizer", names), "");
  EXPECT_EQ(nearest("b", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(1 << 20, 'x'), names), "");
  EXPECT_EQ(did_you_mean("optimizer", names), "");
  EXPECT_EQ(nearest("seed", {}), "");
}

TEST(Text, HumanBytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(130.0 * (1 << 30)), "130 GiB");
}

TEST(Text, HumanCount) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(600000), "600K");
  EXPECT_EQ(human_count(12834560), "12.8M");
  EXPECT_EQ(human_count(999999), "1.0M");
  EXPECT_EQ(human_count(318e6), "318M");
  EXPECT_EQ(human_count(2e15), "2000T");
}

TEST(Text, HumanSeconds) {
  EXPECT_EQ(human_seconds(0.0123), "12ms");
  EXPECT_EQ(human_seconds(5.25), "5.2s");
  EXPECT_EQ(human_seconds(59.99), "1m00s");
  EXPECT_EQ(human_seconds(134.2), "2m14s");
  EXPECT_EQ(human_seconds(3599.7), "1h00m");
  EXPECT_EQ(human_seconds(100 * 3600 + 125), "100h02m");
  EXPECT_EQ(human_seconds(-3), "-3.0s");
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::infinity()), "infs");
}

TEST(Text, ParseDurationReadsUnits) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("3m"), 180);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("1h1s"), 3601);
  EXPECT_EQ(parse_duration("1h2m3s"), 3723);
  EXPECT_EQ(parse_duration("0.5h"), 1800);
  EXPECT_EQ(parse_duration("0"), 0);
}

TEST(Text, ParseDurationRefusesAnythingElse) {
  for (const char* text : {"", "m", "3 m", " 3m", "3m ", "-3m", "+3m", "3x", "30m1h", "1m1m",
                           "1h30", "3ms", "inf", "nan", "1e3", "0x10", ".5m", "3mm", "1,5h"}) {
    EXPECT_THROW(parse_duration(text), UsageError) << text;
  }
  EXPECT_THROW(parse_duration(std::string(400, '9')), UsageError);
}

}  // namespace
}  // namespace axl
