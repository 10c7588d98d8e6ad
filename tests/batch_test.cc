// Texts of different lengths in common passes, and caches that are cut back and copied.
#include "axl/infer/batch.h"

#include <gtest/gtest.h>

#include "logits_testing.h"

namespace axl {
namespace {

constexpr int64_t kContext = 64;

Model random_model(bool memories) {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {2}};
  config.max_seq_len = kContext;
  if (memories) {
    config.ngram = {{2}, 64};
    config.repeats = {3};
  }
  return random_model_of(config);
}

std::vector<int32_t> random_ids(uint64_t seed) {
  std::vector<int32_t> ids{kBos};
  Rng rng(seed);
  while (ids.size() < kContext) ids.push_back(rng.below(7));  // few, so that texts repeat
  return ids;
}

class BatchTest : public testing::TestWithParam<bool> {
 protected:
  /// Reads on in some texts and compares the wanted rows, or all, with the full forward of that
  /// text alone.
  struct Part {
    int64_t sequence, count, wanted = 0;
  };
  void read(std::vector<Part> parts) {
    std::vector<Batch::Portion> portions;
    for (Part& p : parts) {
      const std::vector<int32_t>& ids = ids_[p.sequence];
      if (p.wanted == 0) p.wanted = p.count;
      portions.push_back(
          {p.sequence,
           {ids.data() + batch_.tokens(p.sequence).size(), static_cast<size_t>(p.count)},
           p.wanted});
    }
    batch_.read(portions);
    const Mat logits = batch_.logits();
    int64_t row = 0;
    for (const Part& part : parts) {
      const int64_t sequence = part.sequence, length = batch_.tokens(sequence).size();
      for (int64_t i = length - part.wanted; i < length; ++i, ++row)
        ASSERT_LT(relative_error(logits.row(row), expected_[sequence].view().row(i), kVocab), 1e-4)
            << "text " << sequence << ", token " << i;
    }
    ASSERT_EQ(logits.rows, row);
  }

  Model model_ = random_model(GetParam());
  Batch batch_{model_, 3, 40};
  std::vector<std::vector<int32_t>> ids_{random_ids(1), random_ids(2), random_ids(3)};
  std::vector<Matrix> expected_{full_logits(model_, ids_[0]), full_logits(model_, ids_[1]),
                                full_logits(model_, ids_[2])};
};

TEST_P(BatchTest, TextsOfDifferentLengthsReadAsTheyWouldAlone) {
  read({{0, 5}});
  read({{2, 30}, {0, 1}});
  read({{0, 1}, {1, 17}, {2, 3}});
  for (int i = 0; i < 20; ++i) read({{1, 1}, {2, 1}, {0, 1}});
  read({{2, 1}});
  read({{1, 13}, {0, 27}});
}

TEST_P(BatchTest, ATextThatIsCutBackReadsOnAsIfItHadNeverBeenLonger) {
  read({{0, 37}, {1, 3}});
  std::swap(ids_[0], ids_[2]);
  std::swap(expected_[0], expected_[2]);
  batch_.truncate(0, 1);  // both begin with BOS
  read({{0, 1}, {1, 1}});
  read({{0, 38}});
  batch_.truncate(0, 18);
  for (int i = 0; i < 9; ++i) read({{1, 2}, {0, 1}});
}

TEST_P(BatchTest, APrefixOfAnotherTextNeedNotBeReadAgain) {
  for (const int64_t length : {1, 2, 3, 4, 22, 31}) {
    batch_.truncate(1, 0);
    batch_.truncate(0, 0);
    read({{1, 33}});
    batch_.copy_prefix(1, 0, length);
    ids_[0] = ids_[1];
    expected_[0] = expected_[1];
    read({{0, 1}});
    read({{0, 2}, {1, 5}});
  }
}

TEST_P(BatchTest, LogitsOfTheLastTokensAreTheSameWithoutThoseOfTheOthers) {
  for (const int64_t wanted : {1, 2, 3, 5, 8, 31}) {
    for (const int64_t first : {0, 1, 2, 3, 4, 7}) {
      for (int64_t i = 0; i < 3; ++i) batch_.truncate(i, 0);
      if (first > 0) read({{0, first, 1}, {2, 1}});
      read({{0, 31, wanted}, {1, 3}, {2, 4, 1}});
      for (int i = 0; i < 5; ++i) read({{0, 1}, {1, 1}, {2, 1}});
    }
  }
}

// Coarser tokens inside of what was read have shown nobody what they are.
TEST_P(BatchTest, ATextIsCutBackToAnywhereInWhatWasReadForItsLastLogits) {
  const auto take = [&](int64_t sequence, const std::vector<int32_t>& ids) {
    ids_[sequence] = ids, expected_[sequence] = full_logits(model_, ids);
    batch_.truncate(sequence, 0);
  };
  const std::vector<int32_t> text = ids_[0], other = ids_[2];
  for (int64_t length = 1; length < 33; ++length) {
    for (const int64_t next : {1, 2, 3, 6}) {
      for (int64_t i = 0; i < 2; ++i) {
        take(i, other);  // what caches have kept is of another text
        read({{i, 40}});
        take(i, text);
      }
      read({{0, 33, 1}});
      batch_.copy_prefix(0, 1, length);
      batch_.truncate(0, length);
      read({{1, next}, {0, 2, 1}});
      read({{0, 1}, {1, 1}});
      batch_.truncate(1, length);  // once more, where bytes were read one by one
      read({{1, 1}});
    }
  }
}

TEST_P(BatchTest, MoreThanTheContextHoldsIsADefect) {
  read({{0, 40}});
  std::vector<int32_t> more(25, 'x');
  const Batch::Portion portion{0, more};
  EXPECT_THROW(batch_.read({&portion, 1}), InternalError);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutMemories, BatchTest, testing::Bool());

}  // namespace
}  // namespace axl
