// What a model reads from its memories, against plain searches of the text.
#include <gtest/gtest.h>

#include <algorithm>

#include "axl/model/lookup.h"
#include "options_testing.h"

namespace axl {
namespace {

/// Inference over one sequence; lookup_rows stay readable.
struct Reading {
  Activations a;
  Reading(const Model& model, std::span<const int32_t> ids)
      : a(model.config(), ids.size(), Activations::Mode::kInference) {
    a.lay_out(whole_sequences(1, ids.size()));
    model.forward(ids, a);
    model.logits(a);
  }
};

/// The last earlier place where the n tokens up to `at` stood, in O(N): its end, or -1.
int64_t last_repeat(std::span<const int32_t> ids, int64_t at, int64_t n) {
  for (int64_t end = at - 1; end >= n - 1; --end)
    if (std::equal(&ids[at + 1 - n], &ids[at] + 1, &ids[end + 1 - n])) return end;
  return -1;
}

int32_t naive_repeat_row(std::span<const int32_t> ids, int64_t at, int64_t n) {
  const int64_t end = at + 1 < n ? -1 : last_repeat(ids, at, n);
  if (end < 0 || ids[end + 1] >= 256) return -1;
  int64_t length = n;  // how far the repeat reaches back
  while (length < kMemoryLevels - 1 && end >= length && ids[end - length] == ids[at - length])
    ++length;
  return memory_row(ids[end + 1], length);
}

TEST(Repeats, AreFoundWhereAndAsLongAsTheyAre) {
  ModelConfig config = tiny_config();
  config.max_seq_len = 300;
  config.repeats = {1, 3, 8, kMemoryLevels - 1};
  const Model model(config);
  std::vector<int32_t> ids = repetitive_ids(200, 4);
  for (int64_t i = 0; i < 60; ++i) ids.push_back(ids[30 + i]);  // longer than there are levels
  const Reading reading(model, ids);
  for (size_t t = 0; t < config.repeats.size(); ++t) {
    int64_t found = 0, longest = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int32_t row = reading.a.lookup_rows[t][i];
      const int32_t expected = naive_repeat_row(ids, i, config.repeats[t]);
      ASSERT_EQ(row, expected) << config.repeats[t] << " " << i;
      if (row >= 0) ++found, longest = std::max<int64_t>(longest, row % kMemoryLevels);
    }
    EXPECT_GT(found, 20) << config.repeats[t];
    EXPECT_LT(found, 259) << config.repeats[t];
    EXPECT_LT(longest, kMemoryLevels);
    if (config.repeats[t] == kMemoryLevels - 1) {
      EXPECT_EQ(longest, kMemoryLevels - 1);
    }
  }
}

TEST(NgramTables, EachByteReadsTheRowOfItsLastTokens) {
  ModelConfig config = tiny_config();
  config.ngram = {{1, 2, 5}, 1000};
  const Model model(config);
  const std::vector<int32_t> ids = repetitive_ids(50, 1);
  const Reading reading(model, ids);
  for (size_t t = 0; t < config.ngram.orders.size(); ++t) {
    const int64_t n = config.ngram.orders[t];
    for (int64_t i = 0; i < 50; ++i) {
      const int32_t row = reading.a.lookup_rows[t][i];
      EXPECT_EQ(row == -1, i + 1 < n) << i;
      for (int64_t j = n - 1; j < i && row >= 0; ++j) {
        // 1000 rows hold these few n-grams without two of them in one.
        const bool same = std::equal(&ids[i + 1 - n], &ids[i] + 1, &ids[j + 1 - n]);
        EXPECT_EQ(reading.a.lookup_rows[t][j] == row, same) << n << ": " << i << ", " << j;
      }
    }
  }
}

TEST(RecallTables, EachByteReadsWhatFollowedFirstAndSecond) {
  ModelConfig config = tiny_config();
  config.ngram = {{2}, 100};
  config.recall = {{1, 2}, 10};
  Model model(config);
  //                                    after "a": x twice, y once; after "ba": y
  model.recall().observe(std::vector<int32_t>{'a', 'x', 'a', 'x', 'b', 'a', 'y', 'b', 'a', 'y', 'z',
                                              'b', 'a', 'y', 'a', 'x', 'a', 'x'},
                         0);
  const std::vector<int32_t> ids{kBos, 'b', 'a', 'q', 'a'};
  const Reading reading(model, ids);
  const auto& rows = reading.a.lookup_rows;
  const auto byte = [&](int64_t table, int64_t r) { return rows[table][r] / kMemoryLevels; };
  EXPECT_EQ(byte(1, 2), 'x');  // 4 times
  EXPECT_EQ(byte(2, 2), 'y');  // 3 times
  EXPECT_EQ(byte(3, 2), 'y');
  EXPECT_EQ(rows[4][2], -1);  // always y
  EXPECT_EQ(byte(1, 4), 'x');
  EXPECT_EQ(rows[3][4], -1);                                      // "qa" is unknown
  for (int64_t t : {1, 2, 3, 4}) EXPECT_EQ(rows[t][3], -1) << t;  // so is "q"
  // Both tables of an order have one level: of both counts.
  EXPECT_EQ(rows[1][2] % kMemoryLevels, rows[2][2] % kMemoryLevels);
  EXPECT_EQ(rows[1][2] % kMemoryLevels, (Recall::Entry{'x', 'y', 4, 3}).level());
}

TEST(RecallTables, LevelsAreDistinctWithinTheirNumber) {
  int64_t last = -1;
  for (uint8_t first : {1, 2, 3, 4, 6, 8, 11})
    for (uint8_t second : {0, 1, 2, 4}) {
      if (second > first) continue;
      const int64_t level = Recall::Entry{'a', 'b', first, second}.level();
      EXPECT_GT(level, last);
      EXPECT_LT(level, kMemoryLevels);
      last = level;
    }
  EXPECT_EQ((Recall::Entry{'a', 'b', 15, 15}).level(), last);
}

TEST(RecallTables, RowsInTrainingReadTheMemoryWithoutTheirDocument) {
  ModelConfig config = tiny_config();
  config.recall = {{1}, 10};
  Model model(config);
  Recall without_even(config.recall), without_odd(config.recall);
  without_even.observe(std::vector<int32_t>{'a', 'x'}, 0);
  without_odd.observe(std::vector<int32_t>{'a', 'y'}, 0);
  model.recall().observe(std::vector<int32_t>{'a', 'z'}, 0);
  const std::vector<int32_t> ids{'a', 'a', 'a'};
  const std::vector<uint8_t> odd{1, 0, 1};
  Activations a(config, 3, Activations::Mode::kTraining);
  a.lay_out(whole_sequences(1, 3));
  a.cross_fit = {odd, &without_even, &without_odd};
  model.forward(ids, a);
  const auto byte = [&](int64_t r) { return a.lookup_rows[0][r] / kMemoryLevels; };
  EXPECT_EQ(byte(0), 'y');
  EXPECT_EQ(byte(1), 'x');
  EXPECT_EQ(byte(2), 'y');
  a.cross_fit = {};
  model.forward(ids, a);
  EXPECT_EQ(byte(0), 'z');
}

/// What votes add to the logits after ids[0, count), in the words of their definition: every byte
/// that a memory names, with the weight of (longest order that recalls, memory, level).
void add_naive_votes(const Model& model, std::span<const int32_t> rows_of_tables, Mat votes,
                     float* logits) {
  const ModelConfig& c = model.config();
  const size_t ngrams = c.ngram.orders.size(), orders = c.recall.orders.size();
  const size_t voters = rows_of_tables.size() - ngrams;
  size_t longest = 0;
  for (size_t i = 0; i < orders; ++i)
    if (rows_of_tables[ngrams + 2 * i] >= 0) longest = i;
  for (size_t v = 0; v < voters; ++v) {
    const int32_t row = rows_of_tables[ngrams + v];
    if (row < 0) continue;
    logits[row / kMemoryLevels] += 16 * votes(longest * voters + v, row % kMemoryLevels);
  }
}

TEST(Votes, AreAddedForEachByteThatAMemoryNames) {
  ModelConfig config = tiny_config();
  for (const bool recalls : {false, true}) {
    config.ngram = {{3}, 50};
    config.repeats = {2, 4};
    if (recalls) config.recall = {{1, 2, 4}, 10};
    Model model = random_model(config);
    const std::vector<int32_t> ids = repetitive_ids(50, 1);
    const Reading with(model, ids);
    const Mat votes = model.weights().votes;
    Matrix kept(votes.rows, votes.cols);
    copy(votes, kept.view());
    fill(votes, 0.0f);
    Reading without(model, ids);
    bool any = false;
    for (int64_t r = 0; r < 50; ++r) {
      std::vector<int32_t> rows;
      for (const int32_t* table : without.a.lookup_rows) rows.push_back(table[r]);
      any |= rows.back() >= 0;
      add_naive_votes(model, rows, kept.view(), without.a.logits.row(r));
    }
    EXPECT_TRUE(any);
    EXPECT_LT(relative_error(with.a.logits.data, without.a.logits.data, 50 * kVocab), 1e-6);
  }
}

TEST(Votes, OfFineLogitsThereAreNone) {
  ModelConfig config = tiny_config();
  config.repeats = {2};
  Model model = random_model(config);
  const std::vector<int32_t> ids = repetitive_ids(50, 1);
  Reading reading(model, ids);
  model.fine_logits(reading.a);
  const std::vector<float> with(reading.a.logits.data, reading.a.logits.data + 50 * kVocab);
  fill(model.weights().votes, 0.0f);
  model.fine_logits(reading.a);
  EXPECT_TRUE(std::equal(with.begin(), with.end(), reading.a.logits.data));
}

}  // namespace
}  // namespace axl
