#include "cli/train_options.h"

#include <CLI/CLI.hpp>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/model/checkpoint.h"
#include "axl/train/run_state.h"
#include "cli/config_file.h"

namespace axl {
namespace {
namespace fs = std::filesystem;

/// The directory of the run: --out, else checkpoints/<name>, else, to resume, the newest.
fs::path run_directory(const TrainOptions& o, const Globals& globals) {
  if (!globals.out.empty()) return globals.out;
  if (!o.config.empty()) return fs::path("checkpoints") / load_config(o.config).name;
  return fs::path("checkpoints") / "latest";
}

/// --set and the short flags, in the form of --set.
std::vector<std::string> overrides(const TrainOptions& o) {
  std::vector<std::string> all = o.set;
  if (o.max_time) all.push_back("train.max_time=" + *o.max_time);
  if (o.steps) all.push_back(format("train.steps={}", *o.steps));
  if (o.seed) all.push_back(format("train.seed={}", *o.seed));
  if (o.holdout) all.push_back(format("train.holdout={}", *o.holdout));
  if (!o.teacher.empty()) all.push_back("train.teacher=" + o.teacher);
  if (o.temperature) all.push_back(format("train.distill_temperature={}", *o.temperature));
  if (o.alpha) all.push_back(format("train.distill_alpha={}", *o.alpha));
  return all;
}

void check(const Config& c) {
  if (c.train.steps == 0 && c.train.max_time.empty())
    throw UsageError(
        "nothing says when to stop: give --max-time 3m or --steps N, or set "
        "train.max_time or train.steps in the configuration");
  if (c.train.data.empty())
    throw UsageError(
        "nothing to train on: give --data PATH, or set train.data in the "
        "configuration");
}

}  // namespace

void declare_train_options(CLI::App& app, Globals& globals, TrainOptions& o) {
  app.add_option("--config", o.config,
                 format("Configuration: a path or one of {}", fmt::join(known_configs(), ", ")))
      ->type_name("NAME");
  app.add_option("--data", o.data, "Training files and directories; repeatable")->type_name("PATH");
  app.add_option("--eval-data", o.eval_data,
                 "Held-out files and directories, never trained on; repeatable")
      ->type_name("PATH");
  app.add_option("--holdout", o.holdout, "Share of the files to hold out; 0 is off")
      ->type_name("SHARE");
  app.add_option("--max-time", o.max_time, "Stop after this long: 90s, 3m, 1h30m")
      ->type_name("TIME");
  app.add_option("--steps", o.steps, "Stop after this many steps")->type_name("N");
  app.add_option("--seed", o.seed, "Seed of weights, split and data order")->type_name("N");
  app.add_option("--set", o.set, "Overrides a key of the configuration: train.lr=1e-3; repeatable")
      ->type_name("KEY=VALUE");
  app.add_option("--init", o.init, "Start from the weights of this model")->type_name("MODEL");
  app.add_flag("--resume", o.resume,
               "Continue the run in --out from its last saved state, with its own configuration "
               "(--config then only names the run; flags and --set still apply)");
  app.add_flag("--dry-run", o.dry_run, "Measure a few steps and say what a run would take");
  add_out_option(app, globals, "Run directory; default checkpoints/<name of the configuration>");
}

void declare_distill_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--teacher", o.teacher, "Model to learn from: a directory or a file")
      ->type_name("MODEL");
  app.add_option("--temperature", o.temperature,
                 "Softens both predictions before they are compared; default 2")
      ->type_name("T");
  app.add_option("--alpha", o.alpha, "The teacher's share of the loss, 0 to 1; default 0.7")
      ->type_name("A");
}

TrainPlan plan_training(const TrainOptions& o, const Globals& globals) {
  if (!globals.model.empty())
    throw UsageError(
        "train makes a model and takes no --model: give --init MODEL to start from its "
        "weights, or --resume to continue a run");
  if (o.resume && !o.init.empty())
    throw UsageError("--resume continues a run with its own weights; --init cannot be given too");
  if (o.config.empty() && !o.resume)
    throw UsageError(
        "--config is missing: a path or one of the names that `axl train --help` "
        "mentions, for example --config axl_micro");
  TrainPlan plan;
  plan.out = run_directory(o, globals);
  const fs::path saved = plan.out / "config.yaml";
  const bool from_run = o.resume && fs::exists(saved);
  if (!from_run && o.config.empty())
    throw UsageError(format("{}: there is no run to resume here; give --out DIR or --config NAME",
                            plan.out.string()));
  plan.config = load_config(from_run ? saved.string() : o.config, overrides(o));
  if (!o.data.empty()) plan.config.train.data = o.data;
  if (!o.eval_data.empty()) plan.config.train.eval_data = o.eval_data;
  // Own data with the held-out files of the configuration would be scored on something else.
  if (!o.data.empty() && o.eval_data.empty()) plan.config.train.eval_data.clear();
  check(plan.config);
  return plan;
}

}  // namespace axl
