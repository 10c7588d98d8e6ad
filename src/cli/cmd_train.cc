#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <numbers>
#include <string>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/memory.h"
#include "axl/base/parallel.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "axl/train/memory.h"
#include "axl/train/run_state.h"
#include "axl/train/trainer.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/corpora.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/threads.h"
#include "cli/train_options.h"

namespace axl {
namespace {
namespace fs = std::filesystem;

void log_start(const Config& c, const Corpora& corpora, const Trainer& trainer) {
  spdlog::info("{}: {} parameters, {} to train, {} threads, {} products", c.name,
               human_count(double(trainer.model().parameter_count())),
               human_bytes(double(peak_training_bytes(trainer.model().config(), c.train))),
               max_threads(), precision_name(trainer.precision()));
  spdlog::info("data: {} documents, {}{}", corpora.train->documents(),
               human_bytes(double(corpora.train->bytes())),
               corpora.holdout
                   ? format("; held out: {} documents, {}", corpora.holdout->documents(),
                            human_bytes(double(corpora.holdout->bytes())))
                   : "");
}

std::string progress_line(const StepReport& r, const std::optional<double>& holdout) {
  std::string gate;
  for (double a : r.alpha) gate += format("{}{:.2f}", gate.empty() ? "" : "/", a);
  return format("{:3.0f} %  step {}  {}  train {:.3f}{} bpb  {}/s  {}, {} left  gate {}",
                100 * r.progress, r.step, human_bytes(double(r.bytes)), r.loss / std::numbers::ln2,
                holdout ? format(" held-out {:.3f}", *holdout) : "", human_bytes(r.bytes_per_s),
                human_seconds(r.seconds), human_seconds(r.seconds_left), gate);
}

/// An earlier run in the way is moved aside, never overwritten.
void make_room(const fs::path& out) {
  if (!fs::exists(out / kStateFile) && !fs::exists(out / kModelFile)) return;
  for (int n = 1;; ++n) {
    fs::path aside = out;
    aside += format(".{}", n);
    if (fs::exists(aside)) continue;
    fs::rename(out, aside);
    spdlog::info("moved the earlier run in {} to {}", out.string(), aside.string());
    return;
  }
}

/// The student must not take the teacher's place.
void require_teacher_elsewhere(const TrainConfig& t, const fs::path& out) {
  std::error_code ignored;
  if (!t.teacher.empty() &&
      fs::equivalent(model_file(t.teacher, "train.teacher").parent_path(), out, ignored))
    throw UsageError(
        format("--out '{}' is the teacher's own directory; choose another", out.string()));
}

void warn_of_teacher(const TrainConfig& t) {
  if (t.teacher.empty() || t.fim_rate == 0 || load_model_config(t.teacher).fill_in_middle) return;
  spdlog::warn(
      "the teacher was not trained to fill gaps and predicts badly where train.fim_rate {} puts "
      "texts into the form for it; --set train.fim_rate=0 leaves them as they are",
      t.fim_rate);
}

void point_latest_to(const fs::path& out) {
  try {
    const fs::path link = fs::path("checkpoints") / "latest";
    fs::create_directories(link.parent_path());
    const bool beside =
        fs::equivalent(out.parent_path().empty() ? "." : out.parent_path(), link.parent_path());
    replace_symlink(beside ? out.filename() : fs::absolute(out), link);
  } catch (const std::exception& e) {
    spdlog::warn("checkpoints/latest was not updated: {}", e.what());
  }
}

int dry_run(const Config& c, Trainer& trainer, const Globals& globals) {
  const double step_seconds = trainer.measure_step();
  const double rate = trainer.step_bytes() / step_seconds;
  const RunLimits limits{c.train.steps,
                         c.train.max_time.empty() ? 0 : parse_duration(c.train.max_time)};
  double seconds = limits.seconds > 0 ? limits.seconds : 1e300;
  if (limits.steps > 0) seconds = std::min(seconds, limits.steps * step_seconds);
  const int64_t params = trainer.model().parameter_count();
  const int64_t memory = peak_training_bytes(trainer.model().config(), c.train);
  if (globals.json) {
    print_json({{"params", params},
                {"train_bytes", memory},
                {"bytes_per_s", rate},
                {"seconds", seconds},
                {"bytes", rate * seconds}});
    return kExitDone;
  }
  fmt::print(
      "parameters       {}\nmemory to train  {}\nspeed            {}/s\n"
      "within {:<9} {} of text\n",
      human_count(double(params)), human_bytes(double(memory)), human_bytes(rate),
      human_seconds(seconds), human_bytes(rate * seconds));
  return kExitDone;
}

void report(const TrainResult& r, const fs::path& out, const Globals& globals) {
  const double rate = r.seconds > 0 ? r.bytes / r.seconds : 0;
  if (globals.json) {
    Json json = {{"steps", r.steps}, {"bytes", r.bytes},    {"seconds", r.seconds},
                 {"loss", r.loss},   {"bytes_per_s", rate}, {"out", out.string()},
                 {"alpha", r.alpha}};
    json["holdout_bpb"] = r.holdout_bpb ? Json(*r.holdout_bpb) : Json(nullptr);
    print_json(json);
    return;
  }
  fmt::print("{} after {} steps, {} in {} ({}/s)\n", r.stopped ? "stopped" : "done", r.steps,
             human_bytes(double(r.bytes)), human_seconds(r.seconds), human_bytes(rate));
  fmt::print(
      "training loss {:.4f} nats per byte{}\nmodel: {}\n", r.loss,
      r.holdout_bpb ? format(", held-out {:.3f} bits per byte (sample)", *r.holdout_bpb) : "",
      out.string());
}

int train(const TrainOptions& options, const Globals& globals) {
  const TrainPlan plan = plan_training(options, globals);
  if (globals.threads == 0 && plan.config.train.threads > 0) use_threads(plan.config.train.threads);
  const Corpora corpora = load_corpora(plan.config.train, globals);
  require_memory(fitted(plan.config, *corpora.train), available_memory());
  Trainer trainer(plan.config, *corpora.train, corpora.holdout.get());
  log_start(plan.config, corpora, trainer);
  if (options.dry_run) return dry_run(plan.config, trainer, globals);
  if (!options.init.empty()) trainer.start_from(load_model(options.init));

  const fs::path& out = plan.out;
  require_teacher_elsewhere(plan.config.train, out);
  warn_of_teacher(plan.config.train);
  const bool resumed = options.resume && trainer.resume(out);
  if (resumed)
    spdlog::info("resuming {} after step {}", out.string(), trainer.step());
  else if (options.resume)
    spdlog::warn("{} holds no saved state yet: beginning anew", out.string());
  else
    make_room(out);
  make_writable_directory(out);
  write_text(out / "config.yaml", config_yaml(plan.config));

  catch_stop_signals();
  Progress progress(globals.quiet);
  std::optional<double> holdout;
  const TrainResult result = trainer.run(
      out, {.should_stop = [] { return stop_signal() != 0; },
            .on_step =
                [&](const StepReport& r) {
                  if (r.holdout_bpb) holdout = r.holdout_bpb;
                  progress.update(progress_line(r, holdout));
                },
            .on_warning = [](const std::string& message) { spdlog::warn("{}", message); },
            .on_save = [&] { point_latest_to(out); },
            .on_recall =
                [&](uint64_t done, uint64_t all) {
                  progress.update(format("remembering {} of {}", human_bytes(double(done)),
                                         human_bytes(double(all))));
                }});
  clear_progress_line();
  report(result, out, globals);
  if (!result.stopped) return kExitDone;
  spdlog::info("continue with: axl train --resume --out {}", out.string());
  return 128 + stop_signal();
}

/// A later run must find the teacher wherever it is started, and `latest` will be the student.
int distill(TrainOptions options, const Globals& globals) {
  if (!options.teacher.empty())
    options.teacher = fs::canonical(model_file(options.teacher, "--teacher")).string();
  else if (!options.resume)
    throw UsageError("--teacher is missing: the model to learn from");
  return train(options, globals);
}

}  // namespace

Action setup_distill(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<TrainOptions>();
  declare_distill_options(app, *options);
  declare_train_options(app, globals, *options);
  return [options, &globals] { return distill(*options, globals); };
}

Action setup_train(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<TrainOptions>();
  declare_train_options(app, globals, *options);
  return [options, &globals] { return train(*options, globals); };
}

}  // namespace axl
