#include "axl/train/tune.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "temp_dir.h"
#include "train_testing.h"

namespace axl {
namespace {

using Strings = std::vector<std::string>;

TEST(TuneParam, ARangeIsEvenInTheLogarithm) {
  const TuneParam p = parse_tune_param("train.lr=1e-4..1e-2", false, 5);
  EXPECT_EQ(p.key, "train.lr");
  EXPECT_EQ(p.values, (Strings{"0.0001", "0.000316", "0.001", "0.00316", "0.01"}));
  EXPECT_EQ(parse_tune_param("n=1..3", true, 7).values, (Strings{"1", "2", "3"}));
}

TEST(TuneParam, AListMayHoldLists) {
  EXPECT_EQ(parse_tune_param("train.optimizer=lion,muon", false, 7).values,
            (Strings{"lion", "muon"}));
  EXPECT_EQ(parse_tune_param("train.betas=[0.9,0.95],[0.9,0.99]", false, 7).values,
            (Strings{"[0.9,0.95]", "[0.9,0.99]"}));
}

TEST(TuneParam, RefusesWhatIsNoRangeAndNoList) {
  for (const char* text : {"train.lr", "train.lr=", "=1..2", "lr=1..", "lr=a..b", "lr=0..1",
                           "lr=2..1", "lr=1..1", "lr=1,,2", "lr=1,2,1", "lr=1..inf"})
    EXPECT_THROW(parse_tune_param(text, false, 7), UsageError) << text;
}

TEST(TuneCandidates, AreTheGridWhereItIsSmall) {
  const std::vector<TuneParam> params = {parse_tune_param("a=1,2,3", false, 7),
                                         parse_tune_param("b=x,y", false, 7)};
  const std::vector<TuneCandidate> all = tune_candidates(params, 6, 0);
  EXPECT_EQ(std::set(all.begin(), all.end()).size(), 6u);
  EXPECT_EQ(all[0], (TuneCandidate{"a=1", "b=x"}));
  EXPECT_EQ(all[5], (TuneCandidate{"a=3", "b=y"}));
}

TEST(TuneCandidates, AreADifferentSampleForEachSeedWhereTheGridIsLarge) {
  const std::vector<TuneParam> params = {parse_tune_param("lr=1e-4..1e-2", false, 7),
                                         parse_tune_param("b=x,y,z", false, 7)};
  const std::vector<TuneCandidate> some = tune_candidates(params, 20, 3);
  EXPECT_EQ(std::set(some.begin(), some.end()).size(), 20u);
  EXPECT_EQ(some, tune_candidates(params, 20, 3));
  EXPECT_NE(some, tune_candidates(params, 20, 4));
  int below_middle = 0;
  for (const TuneCandidate& c : some) {
    const double lr = std::stod(c[0].substr(3));
    EXPECT_TRUE(lr >= 1e-4 && lr <= 1e-2) << lr;
    below_middle += lr < 1e-3;
  }
  EXPECT_GT(below_middle, 4) << "uniform would give 2 of 20";
  EXPECT_LT(below_middle, 16);
}

TEST(SuccessiveHalving, HasARungPerHalving) {
  const std::map<size_t, size_t> expected = {{0, 0}, {1, 1}, {2, 1}, {3, 2}, {4, 2},
                                             {5, 3}, {7, 3}, {8, 3}, {9, 4}, {16, 4}};
  for (const auto& [candidates, rungs] : expected)
    EXPECT_EQ(tune_rungs(candidates), rungs) << candidates;
}

/// A search by a clock that each trial moves by what it was given.
struct Search {
  double left = 420;
  std::vector<TrialRequest> asked;

  template <class Objective>
  TuneResult run(size_t candidates, const Objective& objective) {
    return successive_halving(
        candidates, [&] { return left; },
        [&](const TrialRequest& r) -> std::optional<double> {
          asked.push_back(r);
          left -= r.seconds;
          return objective(r);
        });
  }
};

TEST(SuccessiveHalving, KeepsTheBetterHalfAndSharesTheTime) {
  Search search;
  const TuneResult r =
      search.run(7, [](const TrialRequest& t) { return std::abs(double(t.candidate) - 4.2); });
  EXPECT_EQ(r.best, 4u);
  EXPECT_FALSE(r.stopped);
  std::vector<std::set<size_t>> rungs(3);
  for (const TrialRequest& t : search.asked) {
    rungs.at(t.rung).insert(t.candidate);
    EXPECT_NEAR(t.seconds, t.rung == 0 ? 20 : t.rung == 1 ? 35 : 70, 1e-9);
  }
  EXPECT_EQ(rungs[0].size(), 7u);
  EXPECT_EQ(rungs[1], (std::set<size_t>{3, 4, 5, 6}));
  EXPECT_EQ(rungs[2], (std::set<size_t>{4, 5}));
  EXPECT_NEAR(search.left, 0, 1e-9);
}

TEST(SuccessiveHalving, ALongerTrialOverrulesAShorterOne) {
  Search search;
  const TuneResult r = search.run(4, [](const TrialRequest& t) {
    return t.rung == 0 ? double(t.candidate) : 10 - double(t.candidate);
  });
  EXPECT_EQ(r.best, 1u) << "0 led the first rung, 1 the second, though with worse scores";
}

TEST(SuccessiveHalving, DivergenceCountsAsWorst) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  Search search;
  const TuneResult r = search.run(4, [&](const TrialRequest& t) {
    return std::vector{nan, 9.0, -inf, 8.0}[t.candidate];
  });
  EXPECT_EQ(r.best, 3u);
  EXPECT_EQ(r.trials[0].score, inf);
  EXPECT_EQ(r.trials[2].score, inf);
  EXPECT_EQ(Search().run(3, [&](const TrialRequest&) { return nan; }).best, std::nullopt);
}

TEST(SuccessiveHalving, DivergenceInTheLastRungFallsBackToTheOneBefore) {
  const TuneResult r = Search().run(
      4, [](const TrialRequest& t) { return t.rung == 0 ? 5.0 + t.candidate : std::nan(""); });
  EXPECT_EQ(r.best, 0u);
}

TEST(SuccessiveHalving, AStoppedSearchKnowsTheBestOfItsLastCompleteRung) {
  const auto stop_at = [](size_t trials) {
    size_t made = 0;
    return Search().run(4, [&](const TrialRequest& t) -> std::optional<double> {
      if (made++ == trials) return std::nullopt;
      return t.rung == 0 ? 5.0 - t.candidate : 1.0 - t.candidate;
    });
  };
  EXPECT_EQ(stop_at(0).best, std::nullopt);
  EXPECT_TRUE(stop_at(0).stopped);
  EXPECT_EQ(stop_at(2).best, 1u) << "of the two there are";
  EXPECT_EQ(stop_at(5).best, 3u) << "of the first rung";
  EXPECT_EQ(stop_at(5).trials.size(), 5u);
  EXPECT_FALSE(stop_at(6).stopped);
}

TEST(TrainerTrain, LearnsAsRunDoesAndKeepsNothing) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Trainer kept(tiny_config(), corpus, nullptr), trial(tiny_config(), corpus, nullptr);
  kept.run(run_dir(dir, "out"), {});
  const long before = entries(dir.path());
  const TrainResult r = trial.train({});
  EXPECT_EQ(r.steps, tiny_config().train.steps);
  EXPECT_TRUE(same_weights(kept.model(), trial.model()));
  EXPECT_EQ(entries(dir.path()), before);
}

TEST(TrainerTrain, DivergenceHasATypeOfItsOwn) {
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(40));
  Trainer trainer(tiny_config(), corpus, nullptr);
  Model huge(tiny_config().model);
  std::fill_n(huge.data(), huge.parameter_count(), 1e30f);
  trainer.start_from(huge);
  EXPECT_THROW(trainer.train({}), Diverged);
}

}  // namespace
}  // namespace axl
