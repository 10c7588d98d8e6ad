#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "axl/base/error.h"
#include "axl/model/checkpoint.h"
#include "axl/train/run_state.h"
#include "train_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

class Resume : public testing::Test {
 protected:
  /// Leaves a run of `steps` steps, out of those configured, in a directory of its own.
  fs::path start(const Config& config, int64_t steps, const std::string& name = "run") {
    const fs::path out = run_dir(dir_, name);
    Trainer trainer(config, corpus_, nullptr);
    trainer.run(out, stop_after(trainer, steps));
    return out;
  }
  std::string resume_error(const Config& config, const fs::path& out) {
    Trainer trainer(config, corpus_, nullptr);
    return message_of<Error>([&] { trainer.resume(out); });
  }

  TempDir dir_;
  Corpus corpus_ = corpus_of(dir_, "a.py", sample_text(40));
};

class ResumeWith : public Resume, public testing::WithParamInterface<const char*> {};

TEST_P(ResumeWith, EqualsAnUndisturbedRunBitForBit) {
  const Config config = tiny_config(GetParam());
  Trainer straight(config, corpus_, nullptr);
  const TrainResult expected = straight.run(run_dir(dir_, "straight"), {});
  for (const int64_t at : {1, 3, 7}) {
    const fs::path out = start(config, at, "at" + std::to_string(at));
    Trainer resumed(config, corpus_, nullptr);
    ASSERT_TRUE(resumed.resume(out));
    EXPECT_EQ(resumed.step(), at);
    const TrainResult result = resumed.run(out, {});
    EXPECT_EQ(result.steps, expected.steps);
    EXPECT_EQ(result.loss, expected.loss);
    EXPECT_TRUE(get(out / kModelFile) == get(dir_ / "straight/model.safetensors")) << at;
    EXPECT_EQ(result.bytes, expected.bytes);
  }
}

TEST_P(ResumeWith, KeepsTheOptimizersMemory) {
  const Config config = tiny_config(GetParam());
  const fs::path out = start(config, 4);
  Model model(config.model);
  const auto optimizer = make_optimizer(optimizer_options(config.train), model.parameters());
  load_run_state(out, model, optimizer->state(), config.train.optimizer);
  for (const OptimizerState& s : optimizer->state()) {
    double sum = 0;
    for (int64_t i = 0; i < s.count; ++i) sum += std::abs(s.data[i]);
    EXPECT_GT(sum, 0) << s.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, ResumeWith, testing::Values("lion", "adamw", "sgd", "muon"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(Resume, WithEveryMemoryEqualsAnUndisturbedRun) {
  std::vector<std::string> texts;
  for (int i = 0; i < 9; ++i) texts.push_back(sample_text(10 + i));
  const Corpus corpus = corpus_of_documents(dir_, texts);
  const Config config = memory_config("adamw");
  Trainer straight(config, corpus, nullptr);
  const TrainResult expected = straight.run(run_dir(dir_, "straight"), {});
  for (const int64_t at : {1, 4}) {
    const fs::path out = run_dir(dir_, "at" + std::to_string(at));
    Trainer first(config, corpus, nullptr);
    first.run(out, stop_after(first, at));
    Trainer resumed(config, corpus, nullptr);
    ASSERT_TRUE(resumed.resume(out));
    EXPECT_EQ(resumed.run(out, {}).loss, expected.loss);
    EXPECT_TRUE(get(out / kModelFile) == get(dir_ / "straight/model.safetensors")) << at;
    EXPECT_TRUE(same_weights(resumed.model(), straight.model()));  // not rounded
  }
}

TEST_F(Resume, AfterAStopWhileCountingEqualsAnUndisturbedRun) {
  const Corpus corpus = corpus_of_documents(dir_, {sample_text(20), sample_text(30)});
  const Config config = memory_config();
  Trainer straight(config, corpus, nullptr);
  straight.run(run_dir(dir_, "straight"), {});
  TrainCallbacks at_once;
  at_once.should_stop = [] { return true; };

  const fs::path out = run_dir(dir_, "out");
  Trainer unborn(config, corpus, nullptr);
  EXPECT_TRUE(unborn.run(out, at_once).stopped);
  EXPECT_EQ(unborn.step(), 0);
  EXPECT_EQ(entries(out), 0);  // nothing half done

  Trainer first(config, corpus, nullptr);
  EXPECT_FALSE(first.resume(out));
  first.run(out, stop_after(first, 3));
  const std::string state = get(out / kStateFile), model = get(out / kModelFile);
  Trainer second(config, corpus, nullptr);
  ASSERT_TRUE(second.resume(out));
  EXPECT_TRUE(second.run(out, at_once).stopped);
  EXPECT_TRUE(get(out / kStateFile) == state);
  EXPECT_TRUE(get(out / kModelFile) == model);

  Trainer third(config, corpus, nullptr);
  ASSERT_TRUE(third.resume(out));
  third.run(out, {});
  EXPECT_TRUE(get(out / kModelFile) == get(dir_ / "straight/model.safetensors"));
}

TEST_F(Resume, SurvivesManyInterruptions) {
  const Config config = tiny_config("adamw");
  Trainer straight(config, corpus_, nullptr);
  straight.run(run_dir(dir_, "straight"), {});
  const fs::path out = run_dir(dir_, "out");
  for (int64_t step = 1; step <= config.train.steps; ++step) {
    Trainer trainer(config, corpus_, nullptr);
    EXPECT_EQ(trainer.resume(out), step > 1);
    trainer.run(out, stop_after(trainer, step));
  }
  EXPECT_TRUE(get(out / kModelFile) == get(dir_ / "straight/model.safetensors"));
}

TEST_F(Resume, OfAFinishedRunChangesNothing) {
  const Config config = tiny_config();
  const fs::path out = start(config, config.train.steps);
  const std::string model = get(out / kModelFile), log = get(out / kLogFile);
  Trainer trainer(config, corpus_, nullptr);
  ASSERT_TRUE(trainer.resume(out));
  trainer.run(out, {});
  EXPECT_TRUE(get(out / kModelFile) == model);
  EXPECT_EQ(get(out / kLogFile), log);
}

TEST_F(Resume, WithoutAStateIsFalse) {
  Trainer trainer(tiny_config(), corpus_, nullptr);
  EXPECT_FALSE(trainer.resume(run_dir(dir_, "empty")));
}

TEST_F(Resume, RefusesAnotherOptimizer) {
  const fs::path out = start(tiny_config("lion"), 2);
  EXPECT_HOLDS(resume_error(tiny_config("adamw"), out), "trained by lion, not by adamw");
}

TEST_F(Resume, RefusesAnotherModelConfiguration) {
  const fs::path out = start(tiny_config(), 2);
  Config other = tiny_config();
  other.model.d_ff = 32;
  EXPECT_HOLDS(resume_error(other, out), "another model configuration");
}

TEST_F(Resume, RefusesAnotherSeed) {
  const fs::path out = start(tiny_config(), 2);
  Config other = tiny_config();
  other.train.seed = 70;
  EXPECT_HOLDS(resume_error(other, out), "seed 7, not 70");
}

TEST_F(Resume, RefusesAnotherCorpus) {
  const fs::path out = start(tiny_config(), 2);
  const Corpus other = corpus_of(dir_, "b.py", sample_text(50));
  Trainer trainer(tiny_config(), other, nullptr);
  EXPECT_HOLDS(message_of<Error>([&] { trainer.resume(out); }), "other files");
}

TEST_F(Resume, RefusesATruncatedState) {
  const Config config = tiny_config();
  const fs::path out = start(config, 2);
  const std::string state = get(out / kStateFile);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{100}, size_t{700},
                            state.size() / 2, state.size() - 4, state.size() - 1}) {
    put(out / kStateFile, state.substr(0, size));
    EXPECT_HOLDS(resume_error(config, out), kStateFile);
  }
}

TEST_F(Resume, RefusesAStateWithAFlippedBit) {
  const Config config = tiny_config();
  const fs::path out = start(config, 2);
  const std::string state = get(out / kStateFile);
  for (size_t at = 0; at < state.size(); at += state.size() / 40) {
    std::string damaged = state;
    damaged[at] ^= 0x10;
    put(out / kStateFile, damaged);
    EXPECT_HOLDS(resume_error(config, out), kStateFile);
  }
}

TEST_F(Resume, RefusesAModelInPlaceOfAState) {
  const Config config = tiny_config();
  const fs::path out = start(config, 2);
  fs::copy_file(out / kModelFile, out / kStateFile, fs::copy_options::overwrite_existing);
  EXPECT_HOLDS(resume_error(config, out), "no training state");
}

// ---- train_log.csv ------------------------------------------------------------------------------

std::vector<std::string> lines_of(const fs::path& path) {
  std::istringstream in(get(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void expect_steps(const fs::path& log, int64_t steps) {
  const std::vector<std::string> lines = lines_of(log);
  ASSERT_EQ(static_cast<int64_t>(lines.size()), steps + 1);
  EXPECT_TRUE(lines[0].starts_with("step,bytes,seconds,loss"));
  const auto commas = std::count(lines[0].begin(), lines[0].end(), ',');
  for (int64_t i = 1; i <= steps; ++i) {
    EXPECT_TRUE(lines[i].starts_with(std::to_string(i) + ",")) << lines[i];
    EXPECT_EQ(std::count(lines[i].begin(), lines[i].end(), ','), commas) << lines[i];
  }
}

TEST_F(Resume, TheLogHasOneRowPerStep) {
  const fs::path out = start(tiny_config(), 5);
  expect_steps(out / kLogFile, 5);
  Trainer trainer(tiny_config(), corpus_, nullptr);
  trainer.resume(out);
  trainer.run(out, {});
  expect_steps(out / kLogFile, 8);
}

TEST_F(Resume, DropsRowsThatTheSavedStateDoesNotKnow) {
  const fs::path out = start(tiny_config(), 5);
  // As a kill leaves it after steps 6 and 7 were logged but not saved, in the middle of a row.
  put(out / kLogFile, get(out / kLogFile) + "6,384,1.0,9.9,0,1,1,1,,1,1,1\n" +
                          "7,448,1.0,9.9,0,1,1,1,,1,1,1\n" + "5");
  Trainer trainer(tiny_config(), corpus_, nullptr);
  trainer.resume(out);
  trainer.run(out, {});
  expect_steps(out / kLogFile, 8);
  EXPECT_EQ(get(out / kLogFile).find(",1.0,9.9,0,"), std::string::npos);
}

}  // namespace
}  // namespace axl
