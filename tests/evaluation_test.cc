// Interval, breakdown and visible context of a score.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>
#include <vector>

#include "axl/base/rng.h"
#include "axl/infer/bootstrap.h"
#include "axl/infer/breakdown.h"

namespace axl {
namespace {

TEST(Bootstrap, EqualDocumentsLeaveNoDoubt) {
  const std::vector<Score> documents(10, Score{100, 200.0});
  const ConfidenceInterval interval = bits_per_byte_interval(documents);
  const double bits = 2 / std::numbers::ln2;
  EXPECT_NEAR(interval.low, bits, 1e-12);
  EXPECT_NEAR(interval.high, bits, 1e-12);
}

TEST(Bootstrap, AgreesWithTheNormalIntervalOfAMean) {
  // Of documents of one length, the ratio is a mean: 1.96 standard errors either side.
  Rng rng(3);
  std::vector<Score> documents;
  double sum = 0, squares = 0;
  constexpr int kCount = 400;
  for (int i = 0; i < kCount; ++i) {
    const double bits = 3 + rng.normal();
    documents.push_back({1000, 1000 * bits * std::numbers::ln2});
    sum += bits, squares += bits * bits;
  }
  const double mean = sum / kCount, error = std::sqrt((squares / kCount - mean * mean) / kCount);
  const ConfidenceInterval interval = bits_per_byte_interval(documents);
  EXPECT_NEAR(interval.low, mean - 1.96 * error, 0.15 * error);
  EXPECT_NEAR(interval.high, mean + 1.96 * error, 0.15 * error);
}

TEST(Bootstrap, WeighsDocumentsByTheirBytes) {
  // One byte in a million cannot move the ratio, however badly it scores.
  const std::vector<Score> documents = {
      {1'000'000, 1'000'000.0}, {1'000'000, 1'000'000.0}, {1, 8.0}};
  const ConfidenceInterval interval = bits_per_byte_interval(documents);
  EXPECT_LT(interval.low, 1.4427);
  EXPECT_GT(interval.high, 1.4426);
  // … but a draw of that document alone, one in 27, shows: it is left in, as one of the documents.
  EXPECT_NEAR(interval.high, 8 / std::numbers::ln2, 1e-9);
}

TEST(Bootstrap, IsTheSameEachTime) {
  const std::vector<Score> documents = {{100, 100.0}, {50, 90.0}, {70, 20.0}};
  const ConfidenceInterval one = bits_per_byte_interval(documents),
                           two = bits_per_byte_interval(documents);
  EXPECT_EQ(one.low, two.low);
  EXPECT_EQ(one.high, two.high);
  EXPECT_LT(one.low, one.high);
}

TEST(Breakdown, PutsEachByteInOneBucketAndOneKind) {
  Breakdown breakdown(130);  // contexts of 130 bytes at most
  const std::vector<float> nats = {1, 2, 4, 8};
  const std::vector<ByteKind> kinds = {ByteKind::kWord, ByteKind::kWord, ByteKind::kString,
                                       ByteKind::kIndent};
  breakdown.add(14, nats, kinds);  // contexts 14, 15 | 16, 17
  breakdown.add(31, std::span(nats).first(2), std::span(kinds).first(2));  // 31 | 32
  breakdown.add(130, std::span(nats).last(1), std::span(kinds).last(1));
  const auto& buckets = breakdown.by_context();
  const std::vector<std::array<double, 4>> expected = {// first, last, bytes, nats
                                                       {0, 15, 2, 3},
                                                       {16, 31, 3, 13},
                                                       {32, 63, 1, 2},
                                                       {64, 127, 0, 0},
                                                       {128, 130, 1, 8}};
  ASSERT_EQ(buckets.size(), expected.size());
  for (size_t i = 0; i < buckets.size(); ++i) {
    EXPECT_EQ(buckets[i].first, expected[i][0]) << i;
    EXPECT_EQ(buckets[i].last, expected[i][1]) << i;
    EXPECT_EQ(buckets[i].score.bytes, expected[i][2]) << i;
    EXPECT_EQ(buckets[i].score.nats, expected[i][3]) << i;
  }
  EXPECT_EQ(breakdown.of(ByteKind::kWord).bytes, 4u);
  EXPECT_EQ(breakdown.of(ByteKind::kWord).nats, 6);
  EXPECT_EQ(breakdown.of(ByteKind::kString).nats, 4);
  EXPECT_EQ(breakdown.of(ByteKind::kIndent).nats, 16);
  EXPECT_EQ(breakdown.of(ByteKind::kDigit).bytes, 0u);
}

TEST(Breakdown, AFullContextIsInTheLastBucket) {
  Breakdown breakdown(256);
  const float nat = 1;
  const ByteKind kind = ByteKind::kWord;
  for (const uint64_t context : {127, 128, 255, 256}) breakdown.add(context, {&nat, 1}, {&kind, 1});
  ASSERT_EQ(breakdown.by_context().size(), 5u);
  EXPECT_EQ(breakdown.by_context()[4].score.bytes, 3u);
  EXPECT_EQ(breakdown.by_context()[4].first, 128u);
  EXPECT_EQ(breakdown.by_context()[4].last, 256u);
}

TEST(Scorer, ContextIsWhatTheWindowOfAByteShows) {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {1}};
  for (const int64_t length : {4, 15, 16}) {
    config.max_seq_len = length;
    Model model(config);
    model.init(1);
    Scorer scorer(model);
    const int64_t stride = length / 2;
    for (int64_t k = 0; k < 100; ++k) {
      // The first window that has input k; its inputs are begin … k, of which input 0 is BOS.
      int64_t begin = 0;
      while (begin + length <= k) begin += stride;
      EXPECT_EQ(scorer.context_of(k), uint64_t(k - begin + (begin > 0))) << length << " " << k;
    }
  }
}

}  // namespace
}  // namespace axl
