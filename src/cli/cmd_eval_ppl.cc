#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/infer/causality.h"
#include "axl/model/checkpoint.h"
#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/evaluation_report.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/signals.h"

namespace axl {
namespace {

// Of more files than this in directories, only the worst are printed.
constexpr size_t kMostListed = 10;

struct ScoreOptions {
  std::vector<std::string> paths, prime, training;
  std::string per_byte, head = "full";
  bool baselines = false, breakdown = false;
};

/// What the options name, found before the long work begins.
struct Inputs {
  std::vector<std::string> files, prime, training;
  bool list_files;  ///< print each file's score as soon as it is known
};

Inputs find_inputs(const ScoreOptions& o, const Globals& globals) {
  if (!o.prime.empty() && !o.baselines)
    throw UsageError("--prime is what the compressors of --baselines read first; give both");
  Inputs in{expand_paths(o.paths), expand_paths(o.prime), expand_paths(o.training), true};
  const bool has_directory =
      std::any_of(o.paths.begin(), o.paths.end(),
                  [](const std::string& path) { return std::filesystem::is_directory(path); });
  in.list_files = globals.verbose || !has_directory || in.files.size() <= kMostListed;
  return in;
}

std::vector<Baseline> measure_baselines(const Inputs& in, Progress& progress) {
  std::string current;
  Clock::time_point begin;
  return run_baselines({in.files.begin(), in.files.end()}, {in.prime.begin(), in.prime.end()},
                       [&](const std::string& what) {
                         if (what != current) begin = Clock::now();
                         current = what;
                         const std::string waited = human_seconds(seconds_since(begin));
                         progress.update(format("{}, {}", what, waited));
                         return stop_signal() == 0;
                       });
}

void print_evaluation(const Evaluation& evaluation, const ScoreOptions& o, const Inputs& in) {
  if (!in.list_files) print_worst_files(evaluation);
  print_total(evaluation);
  print_shared_shingles(evaluation);
  if (o.breakdown) print_breakdown(evaluation.breakdown);
  if (o.baselines) print_baselines(evaluation);
}

Head head_of(const ScoreOptions& o) {
  if (o.head == "full") return Head::kFused;
  if (o.head == "fine") return Head::kFine;
  throw UsageError(format("--head: '{}' is not one of full, fine", o.head));
}

/// Does all the work; returns early when a signal says to stop.
Evaluation evaluate(const Model& model, const ScoreOptions& o, const Inputs& in, AtomicFile* csv,
                    const Globals& globals) {
  Progress progress(globals.quiet);
  Evaluation evaluation =
      score_files(model, head_of(o), in.files, csv, progress, [&](const EvaluatedFile& file) {
        if (globals.json || !in.list_files) return;
        clear_progress_line();
        print_file(file);
      });
  if (!in.training.empty() && !stop_signal())
    find_shared_shingles(evaluation, in.training, progress);
  if (o.baselines && !stop_signal()) evaluation.baselines = measure_baselines(in, progress);
  return evaluation;
}

int eval_ppl(const ScoreOptions& o, const Globals& globals) {
  head_of(o);  // a wrong name is told before the long work
  const Inputs in = find_inputs(o, globals);
  const Model model = load_model(resolve_model(globals.model));
  check_causality(model);
  std::optional<AtomicFile> csv;
  if (!o.per_byte.empty()) csv.emplace(o.per_byte).write("offset,byte,nats\n");

  catch_stop_signals();
  const Evaluation evaluation = evaluate(model, o, in, csv ? &*csv : nullptr, globals);
  if (stop_signal()) return 128 + stop_signal();
  if (csv) csv->commit();
  warn_of_shared_shingles(evaluation);
  if (globals.json)
    print_json(evaluation_json(evaluation));
  else
    print_evaluation(evaluation, o, in);
  return kExitDone;
}

}  // namespace

Action setup_eval_ppl(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<ScoreOptions>();
  const auto add_paths = [&app](const char* flag, std::vector<std::string>& paths,
                                const char* help) {
    app.add_option(flag, paths, help)->type_name("PATH")->allow_extra_args(false);
  };
  app.add_option("files", o->paths,
                 "Files to score, each as one document, and directories of such files")
      ->type_name("FILE")
      ->required();
  app.add_option("--per-byte", o->per_byte,
                 "Write a CSV file with a row per byte: offset,byte,nats (with several files, one "
                 "after the other)")
      ->type_name("OUT.csv");
  app.add_flag("--breakdown", o->breakdown,
               "Also print the score by kind of byte and by visible context");
  app.add_option(
         "--head", o->head,
         "full, or fine: what the fine scale alone predicts, which `axl export-gguf` writes")
      ->type_name("HEAD")
      ->capture_default_str();
  add_paths("--train-data", o->training,
            "Files and directories that the model was trained on: says how much of what is scored "
            "occurs there; repeatable");
  app.add_flag("--baselines", o->baselines, "Also compress the files by xz, zstd and PPMd");
  add_paths("--prime", o->prime,
            "Files and directories that the compressors of --baselines read first, such as the "
            "training files; repeatable; takes minutes");
  return [o, &globals] { return eval_ppl(*o, globals); };
}

}  // namespace axl
