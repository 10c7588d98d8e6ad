#include "axl/train/recall_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <memory>

#include "axl/base/tokens.h"
#include "axl/model/checkpoint.h"
#include "axl/model/lookup.h"
#include "train_testing.h"

namespace axl {
namespace {

constexpr RecallConfig kEmpty{};

struct Halves {
  explicit Halves(const RecallConfig& config) : even(config), odd(config) {}
  Recall even, odd;
};

bool same_slots(const Recall& a, const Recall& b) {
  return std::ranges::equal(a.orders(), b.orders()) && a.slots() == b.slots() &&
         std::memcmp(a.data(0), b.data(0), sizeof(uint32_t) * a.slots() * a.orders().size()) == 0;
}
bool same_halves(const Halves& a, const Halves& b) {
  return same_slots(a.even, b.even) && same_slots(a.odd, b.odd);
}

std::vector<int32_t> tokens_of(std::string_view text) {
  std::vector<int32_t> tokens{kBos};
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  tokens.push_back(kEos);
  return tokens;
}

/// Whether the memory, whose only order is 8, knows what follows the first 8 bytes of a text.
bool knows(const Recall& recall, std::string_view text) {
  return recall.find(0, hash_tokens(tokens_of(text).data() + 1, 8)).first_count > 0;
}

std::vector<std::string> mixed_texts() {
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i)
    texts.push_back(i % 3 == 0 ? unique_text(i * 7 + 1, i) : sample_text(i % 11 + 1));
  return texts;
}

TEST(BuildRecall, CountsEachDocumentOnceAndWhole) {
  const TempDir dir;
  const std::vector<std::string> texts = mixed_texts();
  const Corpus corpus = corpus_of_documents(dir, texts);
  const RecallConfig config{.orders = {2, 5, 17}, .bits = 8};  // full: order matters
  Halves expected(config);
  for (size_t i = 0; i < texts.size(); ++i)
    (i % 2 ? expected.odd : expected.even).observe(tokens_of(texts[i]), 0);
  const int before = num_threads();
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    // Chunks that end at any place of a document, within the first context and the mark too.
    for (const uint64_t chunk : {1, 2, 16, 17, 18, 101, 1 << 20}) {
      Halves built(config);
      EXPECT_TRUE(build_recall(corpus, built.even, built.odd, 0, nullptr, chunk));
      EXPECT_TRUE(same_halves(built, expected)) << "chunks of " << chunk;
    }
  }
  set_num_threads(before);
}

TEST(BuildRecall, CountsAShareSpreadEvenlyOverTheCorpus) {
  const TempDir dir;
  std::vector<std::string> texts;
  for (int i = 0; i < 400; ++i) texts.push_back(unique_text(28, i));  // 30 tokens each
  const Corpus corpus = corpus_of_documents(dir, texts);
  ASSERT_EQ(corpus.tokens(), 12000u);
  for (const uint64_t most : {12000, 11999, 6000, 3900, 1500, 60}) {
    Halves built({.orders = {8}, .bits = 22});
    uint64_t counted = 0;
    EXPECT_TRUE(build_recall(corpus, built.even, built.odd, most, [&](uint64_t done, uint64_t all) {
      EXPECT_EQ(all, most);
      counted = done;
      return false;
    }));
    EXPECT_LE(counted, most);
    EXPECT_GT(counted + 60, most);
    const double wanted = most / 30.0;  // documents, known within one pair
    double known = 0;
    for (int i = 0; i < 400; ++i) {
      EXPECT_FALSE(knows(i % 2 ? built.even : built.odd, texts[i]));
      known += knows(i % 2 ? built.odd : built.even, texts[i]);
      EXPECT_NEAR(known, wanted * (i + 1) / 400, 2) << "of " << most << ", at " << i;
    }
    EXPECT_NEAR(known, wanted, 1);
  }
}

TEST(BuildRecall, CutsADocumentAtTheLimit) {
  const TempDir dir;
  const std::string text = unique_text(5000, 1);
  const Corpus corpus = corpus_of_documents(dir, {text, "small"});
  const RecallConfig config{.orders = {8}, .bits = 16};
  Halves built(config), expected(config);
  EXPECT_TRUE(build_recall(corpus, built.even, built.odd, 1000, nullptr, 300));
  const std::vector<int32_t> tokens = tokens_of(text);
  expected.even.observe({tokens.data(), 1000}, 0);
  EXPECT_TRUE(same_halves(built, expected));
}

TEST(BuildRecall, StopsWhenAskedTo) {
  const TempDir dir;
  const Corpus corpus = corpus_of_documents(dir, mixed_texts());
  Halves built({.orders = {2}, .bits = 8});
  int calls = 0;
  const auto stop = [&](uint64_t, uint64_t) { return ++calls == 3; };
  EXPECT_FALSE(build_recall(corpus, built.even, built.odd, 0, stop, 100));
  EXPECT_EQ(calls, 3);
}

TEST(BuildRecall, LeavesMemoriesWithoutOrdersEmpty) {
  const TempDir dir;
  const Corpus corpus = corpus_of_documents(dir, {"some", "text"});
  Halves built(kEmpty);
  EXPECT_TRUE(build_recall(corpus, built.even, built.odd));
  EXPECT_TRUE(built.even.empty() && built.odd.empty());
}

// ---- Cross-fitting ------------------------------------------------------------------------------

Config recalling_config() {
  Config c = tiny_config("adamw");
  c.model.recall = {.orders = {8}, .bits = 20};
  c.train.steps = 20;
  return c;
}

/// Largest weight behind what is recalled. They begin at zero, and a gradient reaches them only
/// where training has recalled something.
double learnt_to_recall(const Model& model) {
  double largest = 0;
  for (const Parameter& p : model.parameters())
    for (int64_t i = 0; i < p.size() && (p.role == Role::kTable || p.role == Role::kVotes); ++i)
      largest = std::max(largest, std::abs(double(model.data()[p.offset + i])));
  return largest;
}

/// Bytes of a text after which a model that reads it recalls the next one.
int64_t recalled_bytes(const Model& model, const std::string& text) {
  const std::vector<int32_t> tokens = tokens_of(text);
  const int64_t n = model.config().max_seq_len;
  Activations a(model.config(), n, Activations::Mode::kInference);
  a.lay_out(whole_sequences(1, n));
  model.forward({tokens.data(), static_cast<size_t>(n)}, a);
  int64_t recalled = 0;
  for (int64_t r = 0; r < n; ++r)
    recalled += a.lookup_rows[0][r] >= 0 && a.lookup_rows[0][r] / kMemoryLevels == tokens[r + 1];
  return recalled;
}

class CrossFitting : public testing::Test {
 protected:
  /// Trains on documents, each the unique text of its number.
  Trainer train(const std::vector<int>& numbers, const std::string& name) {
    std::vector<std::string> texts;
    for (const int n : numbers) texts.push_back(text_of(n));
    corpora_.push_back(std::make_unique<Corpus>(corpus_of_documents(dirs_.emplace_back(), texts)));
    Trainer trainer(recalling_config(), *corpora_.back(), nullptr);
    trainer.run(run_dir(dir_, name), {});
    return trainer;
  }
  static std::string text_of(int number) { return unique_text(150, number); }

  TempDir dir_;
  std::list<TempDir> dirs_;
  std::vector<std::unique_ptr<Corpus>> corpora_;
};

TEST_F(CrossFitting, HidesADocumentFromItsOwnTrainingButNotFromTheModel) {
  const Trainer trainer = train({0, 1, 2, 3, 4, 5}, "unique");
  EXPECT_EQ(learnt_to_recall(trainer.model()), 0);
  for (const int n : {0, 1, 4, 5}) EXPECT_GE(recalled_bytes(trainer.model(), text_of(n)), 20) << n;
  EXPECT_EQ(recalled_bytes(trainer.model(), text_of(6)), 0);
}

TEST_F(CrossFitting, ShowsWhatTheOtherHalfHolds) {
  EXPECT_GT(learnt_to_recall(train({0, 0, 1, 1, 2, 2}, "copies").model()), 0.01);
  // The copies lie in the same half, which no document of that half may see.
  EXPECT_EQ(learnt_to_recall(train({0, 1, 0, 1, 0, 1}, "same half").model()), 0);
}

TEST_F(CrossFitting, IsInTheSavedModelAsWell) {
  const Trainer trainer = train({0, 1, 2, 3}, "saved");
  const Model loaded = load_model(dir_ / "saved");
  EXPECT_TRUE(same_slots(loaded.recall(), trainer.model().recall()));
  EXPECT_GE(recalled_bytes(loaded, text_of(2)), 20);
}

TEST_F(CrossFitting, ARunFromAnotherModelRecallsItsOwnCorpusAlone) {
  const Trainer first = train({0, 1, 2, 3}, "first");
  const Trainer fresh = train({4, 5, 6, 7}, "fresh");
  Trainer second(recalling_config(), *corpora_.back(), nullptr);
  second.start_from(first.model());
  second.run(run_dir(dir_, "second"), {});
  EXPECT_TRUE(same_slots(second.model().recall(), fresh.model().recall()));
}

TEST_F(CrossFitting, WarnsWhereThereIsNoOtherDocument) {
  for (const int documents : {1, 2}) {
    const TempDir dir;
    const Corpus corpus =
        corpus_of_documents(dir, std::vector<std::string>(documents, sample_text(30)));
    Trainer trainer(recalling_config(), corpus, nullptr);
    std::string warnings;
    TrainCallbacks call;
    call.on_warning = [&](const std::string& message) { warnings += message; };
    trainer.run(run_dir(dir, "out"), call);
    EXPECT_EQ(warnings.find("single document") != warnings.npos, documents == 1) << warnings;
  }
}

TEST_F(CrossFitting, TablesLearnAtARateOfTheirOwn) {
  const std::string text = sample_text(30);
  const Corpus corpus = corpus_of_documents(dir_, {text, text});
  Config config = recalling_config();
  config.train.lr = 0;
  for (const double table_lr : {0.0, 0.05}) {
    config.train.table_lr = table_lr;
    Trainer trainer(config, corpus, nullptr);
    trainer.run(run_dir(dir_, std::to_string(table_lr)), {});
    EXPECT_EQ(learnt_to_recall(trainer.model()) > 0, table_lr > 0);
  }
}

TEST_F(CrossFitting, CountsNoMoreThanConfigured) {
  const Corpus corpus = corpus_of_documents(dir_, {text_of(0), text_of(1), text_of(2), text_of(3)});
  Config config = recalling_config();
  config.train.recall_bytes = 304;  // a pair of documents and its marks
  Trainer trainer(config, corpus, nullptr);
  trainer.run(run_dir(dir_, "out"), {});
  EXPECT_GE(recalled_bytes(trainer.model(), text_of(0)), 20);
  EXPECT_EQ(recalled_bytes(trainer.model(), text_of(2)), 0);
}

TEST(RecallBuilder, TakesNoMoreSlotsThanTheCorpusHasUseFor) {
  const auto bits = [](int64_t most, uint64_t bytes) {
    return fitted_recall({.orders = {4}, .bits = most}, bytes).bits;
  };
  EXPECT_EQ(bits(24, 0), 16);
  EXPECT_EQ(bits(24, 5'000'000), 20);
  EXPECT_EQ(bits(24, uint64_t{1} << 22), 20);
  EXPECT_EQ(bits(24, (uint64_t{1} << 22) - 1), 19);
  EXPECT_EQ(bits(24, uint64_t{1} << 40), 24);
  EXPECT_EQ(bits(12, 5'000'000), 12);
  const RecallConfig none;
  EXPECT_EQ(fitted_recall(none, 0), none);
}

}  // namespace
}  // namespace axl
