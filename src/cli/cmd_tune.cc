#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/threads.h"
#include "cli/tune_trials.h"

namespace axl {
namespace {

constexpr int kGridPoints = 7;

struct TuneOptions {
  std::string config, budget = "10m";
  std::vector<std::string> data, eval_data, set, params;
  std::optional<double> holdout;
  std::optional<int64_t> seed, steps;
  int64_t candidates = 16;
};

Config resolve(const TuneOptions& o) {
  Config c = load_config(o.config, o.set);
  if (o.seed) c.train.seed = *o.seed;
  if (o.holdout) c.train.holdout = *o.holdout;
  if (!o.data.empty()) {
    c.train.data = o.data;
    c.train.eval_data.clear();
  }
  if (!o.eval_data.empty()) c.train.eval_data = o.eval_data;
  c.validate();
  if (c.train.data.empty())
    throw UsageError(
        "nothing to train on: give --data PATH, or set train.data in the configuration");
  if (c.train.holdout == 0)
    throw UsageError("tune chooses by a held-out share of --data: give --holdout 0.02 or the like");
  return c;
}

/// What the search itself decides, or what does not change a model.
void refuse_fixed(const std::string& key) {
  for (const char* fixed :
       {"name", "train.data", "train.eval_data", "train.suffixes", "train.steps", "train.max_time",
        "train.eval_every", "train.eval_bytes", "train.checkpoint_every", "train.holdout",
        "train.seed", "train.threads"})
    if (key == fixed) throw UsageError(format("--param {}: this key is not for tuning", key));
}

std::vector<TuneParam> params_of(const TuneOptions& o, Config& config) {
  const Fields fields = config.fields();
  std::vector<TuneParam> params;
  for (const std::string& text : o.params) {
    const std::string key = text.substr(0, text.find('='));
    const bool whole = std::holds_alternative<int64_t*>(find_field(fields, key, "--param").target);
    refuse_fixed(key);
    params.push_back(parse_tune_param(text, whole, kGridPoints));
  }
  if (params.empty())
    params.push_back(
        tune_range("train.lr", config.train.lr / 10, config.train.lr * 10, false, kGridPoints));
  return params;
}

/// The files of the final test take no part at all.
Corpora corpora_of(const TrainConfig& t, const Globals& globals) {
  CorpusSplit split = find_files(t);
  if (!t.eval_data.empty()) split = split_corpus(std::move(split.train), t.holdout, t.seed);
  if (split.holdout.empty())
    throw UsageError(
        "the data is a single file, of which nothing can be held out to choose by: give several "
        "files");
  Corpora corpora;
  corpora.holdout = index_files(std::move(split.holdout), globals);
  corpora.train = index_files(std::move(split.train), globals);
  return corpora;
}

std::string words(const TuneCandidate& candidate) {
  return format("{}", fmt::join(candidate, " "));
}

std::string score_text(double score) {
  return std::isfinite(score) ? format("{:.4f} bpb", score) : "diverged";
}

std::string shell_word(const std::string& word) {
  constexpr const char* kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// What to run with the result, flags of the search's own run included.
std::string train_command(const TuneOptions& o, const TuneCandidate& best) {
  std::string text = "axl train --config " + shell_word(o.config);
  for (const std::string& path : o.data) text += " --data " + shell_word(path);
  for (const std::string& path : o.eval_data) text += " --eval-data " + shell_word(path);
  for (const std::string& setting : o.set) text += " --set " + shell_word(setting);
  for (const std::string& setting : best) text += " --set " + shell_word(setting);
  if (o.holdout) text += format(" --holdout {}", *o.holdout);
  if (o.seed) text += format(" --seed {}", *o.seed);
  return text;
}

/// Shows each trial while it runs, and its score for good.
TuneResult search(TuneTrials& trials, size_t candidates, Progress& progress) {
  return successive_halving(
      candidates, [&] { return trials.seconds_left(); },
      [&](const TrialRequest& r) -> std::optional<double> {
        const std::string name = words(trials.candidate(r.candidate));
        const std::string rung = format("rung {}/{}", r.rung + 1, trials.rungs());
        TrainCallbacks call;
        call.should_stop = [] { return stop_signal() != 0; };
        call.on_step = [&](const StepReport& s) {
          const double left = trials.seconds_left();
          progress.update(format("{}  {}  step {}  train {:.3f} bpb{}", rung, name, s.step,
                                 s.loss / std::numbers::ln2,
                                 std::isfinite(left) ? "  " + human_seconds(left) + " left" : ""));
        };
        const std::optional<double> score = trials.evaluate(r, call);
        if (score)
          progress.print(format("{}  {}  {} steps  {}", rung, name, trials.steps_made().back(),
                                score_text(*score)));
        return score;
      });
}

/// The score that made it the best: of its longest trial.
double best_score(const TuneResult& result) {
  double score = 0;
  for (const Trial& t : result.trials)
    if (t.candidate == result.best && std::isfinite(t.score)) score = t.score;
  return score;
}

void report_json(const TuneOptions& o, const TuneTrials& trials, const TuneResult& result) {
  Json rows = Json::array();
  for (size_t i = 0; i < result.trials.size(); ++i) {
    const Trial& t = result.trials[i];
    rows.push_back({{"set", trials.candidate(t.candidate)},
                    {"rung", t.rung + 1},
                    {"steps", trials.steps_made()[i]},
                    {"holdout_bpb", std::isfinite(t.score) ? Json(t.score) : Json(nullptr)}});
  }
  Json json = {{"trials", rows}, {"stopped", result.stopped}, {"set", nullptr}};
  if (result.best) {
    const TuneCandidate& best = trials.candidate(*result.best);
    json["set"] = best;
    json["holdout_bpb"] = best_score(result);
    json["command"] = train_command(o, best);
  }
  print_json(json);
}

void report_text(const TuneOptions& o, const TuneTrials& trials, const TuneResult& result) {
  for (size_t i = 0; i < result.trials.size(); ++i) {
    const Trial& t = result.trials[i];
    fmt::print("rung {}  {:>6} steps  {:>12}  {}\n", t.rung + 1, trials.steps_made()[i],
               score_text(t.score), words(trials.candidate(t.candidate)));
  }
  if (!result.best) return;
  const TuneCandidate& best = trials.candidate(*result.best);
  fmt::print("best{}: {} with {:.4f} held-out bits per byte (sample)\n",
             stop_signal() ? " so far" : "", words(best), best_score(result));
  fmt::print("{}\n", train_command(o, best));
}

/// A best value at the end of its range says little about what lies beyond.
void warn_about_edges(std::span<const TuneParam> params, const TuneCandidate& best) {
  for (size_t i = 0; i < params.size(); ++i) {
    const TuneParam& p = params[i];
    const bool edge = p.high > 0 && (best[i] == p.key + "=" + p.values.front() ||
                                     best[i] == p.key + "=" + p.values.back());
    if (edge) spdlog::warn("{} is the end of its range: a better value may lie beyond", best[i]);
  }
}

int tune(const TuneOptions& o, const Globals& globals) {
  if (!globals.model.empty())
    throw UsageError("tune begins every trial from new weights and takes no --model");
  const TuneBudget budget =
      o.steps ? TuneBudget{.steps = *o.steps} : TuneBudget{.seconds = parse_duration(o.budget)};
  Config config = resolve(o);
  const std::vector<TuneParam> params = params_of(o, config);
  const std::vector<TuneCandidate> candidates =
      tune_candidates(params, o.candidates, static_cast<uint64_t>(config.train.seed));
  if (candidates.size() < 2) throw UsageError("there is a single candidate: nothing to choose");
  if (globals.threads == 0 && config.train.threads > 0) use_threads(config.train.threads);
  const Corpora corpora = corpora_of(config.train, globals);
  catch_stop_signals();
  TuneTrials trials(config, candidates, corpora, budget);
  spdlog::info(
      "{} candidates, {} rungs, {}", candidates.size(), trials.rungs(),
      o.steps ? format("{} steps in a first trial", *o.steps) : human_seconds(budget.seconds));
  TuneResult result;
  {
    Progress progress(globals.quiet);
    result = search(trials, candidates.size(), progress);
  }
  if (!result.best && !stop_signal())
    throw Error("every candidate diverged: try lower learning rates (--param train.lr=LOW..HIGH)");
  if (globals.json)
    report_json(o, trials, result);
  else
    report_text(o, trials, result);
  if (result.stopped && !stop_signal())
    spdlog::warn("training was slower than measured at first: the last rungs were left out");
  if (result.best && !stop_signal()) warn_about_edges(params, trials.candidate(*result.best));
  return stop_signal() ? 128 + stop_signal() : kExitDone;
}

}  // namespace

Action setup_tune(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<TuneOptions>();
  app.footer(
      "Successive halving: every rung trains the candidates that are left, each anew from the same "
      "initial weights with a learning-rate schedule of the trial's own length, and keeps the "
      "better half by held-out bits per byte. A warm-up takes at most a tenth of a trial. Trials "
      "are short: what is best for them may be a little high for a run of many hours. Nothing is "
      "saved.");
  app.add_option("--config", o->config,
                 format("Configuration: a path or one of {}", fmt::join(known_configs(), ", ")))
      ->type_name("NAME")
      ->required();
  app.add_option("--data", o->data, "Training files and directories; repeatable")
      ->type_name("PATH");
  app.add_option("--eval-data", o->eval_data,
                 "Files of your final test: the search neither trains on them nor chooses by them")
      ->type_name("PATH");
  CLI::Option* const budget =
      app.add_option("--budget", o->budget, "Time for the whole search; default 10m")
          ->type_name("TIME");
  app.add_option("--steps", o->steps,
                 "Steps of each first trial instead of a time, every further rung twice as many: "
                 "the same search on any machine")
      ->check(CLI::Range(1, 1'000'000).description(""))
      ->excludes(budget)
      ->type_name("N");
  app.add_option("--param", o->params,
                 "What to tune: train.lr=1e-4..1e-2 or train.batch_size=8,16; repeatable; default "
                 "train.lr from a tenth to ten times the configuration's")
      ->type_name("KEY=VALUES");
  app.add_option("--candidates", o->candidates,
                 "Try at most this many: a grid of 7 points per range, or a random sample where "
                 "the grid has more; default 16")
      ->check(CLI::Range(2, 1000).description(""))
      ->type_name("N");
  app.add_option("--holdout", o->holdout, "Share of the files to choose by")->type_name("SHARE");
  app.add_option("--seed", o->seed, "Seed of candidates, weights, split and data order")
      ->type_name("N");
  app.add_option("--set", o->set, "Overrides a key of the configuration; repeatable")
      ->type_name("KEY=VALUE");
  return [o, &globals] { return tune(*o, globals); };
}

}  // namespace axl
