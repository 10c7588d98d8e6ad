#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/process.h"
#include "axl/train/run_state.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/plot_script.h"
#include "cli/signals.h"

namespace axl {
namespace {
namespace fs = std::filesystem;

struct PlotOptions {
  std::vector<std::string> runs;
};

/// gnuplot's name for what the suffix asks for.
std::string terminal_for(const fs::path& out) {
  if (out.extension() == ".svg") return "svg";
  if (out.extension() == ".png") return "pngcairo";
  throw UsageError(
      format("-o {}: the name must end in .svg or .png, which says what to draw", out.string()));
}

fs::path log_of(const fs::path& run) {
  if (!fs::is_directory(run)) return run;
  if (fs::exists(run / kLogFile)) return run / kLogFile;
  throw Error(format("{}: there is no {} in it; give the directory of a training run", run.string(),
                     kLogFile));
}

/// The directory's own name; the whole path where two runs would share it.
std::vector<PlottedRun> read_runs(const std::vector<std::string>& paths) {
  const auto short_name = [](const std::string& path) {
    return fs::absolute(fs::path(path) / "").lexically_normal().parent_path().filename().string();
  };
  std::map<std::string, int> uses;
  for (const std::string& path : paths) ++uses[short_name(path)];
  std::vector<PlottedRun> runs;
  for (const std::string& path : paths) {
    const std::string name = short_name(path);
    runs.push_back({uses[name] > 1 ? path : name, read_run_log(log_of(path))});
  }
  return runs;
}

ProcessResult run_gnuplot(const std::string& script) {
  try {
    // --default-settings: what a user keeps in ~/.gnuplot would change the picture.
    return run_process(std::vector<std::string>{"gnuplot", "--default-settings", "-"}, script,
                       [] { return stop_signal() != 0; });
  } catch (const ProgramNotFound&) {
    throw Error("plot draws with gnuplot, which is not installed: apt install gnuplot-nox");
  }
}

bool was_evaluated(const PlottedRun& run) {
  return std::ranges::any_of(run.log.steps,
                             [](const StepReport& r) { return r.holdout_bpb.has_value(); });
}

Json runs_json(const std::vector<PlottedRun>& runs, const std::vector<std::string>& paths) {
  Json list = Json::array();
  for (size_t i = 0; i < runs.size(); ++i) {
    const StepReport& last = runs[i].log.steps.back();
    list.push_back({{"name", runs[i].name},
                    {"run", paths[i]},
                    {"steps", last.step},
                    {"bytes", last.bytes},
                    {"seconds", last.seconds}});
  }
  return list;
}

int plot(const PlotOptions& o, const Globals& globals) {
  if (!globals.model.empty())
    throw UsageError("plot reads logs of runs and takes no --model: give their directories");
  const fs::path out = globals.out.empty() ? "plot.svg" : globals.out;
  const std::string terminal = terminal_for(out);
  const std::vector<PlottedRun> runs = read_runs(o.runs);
  if (std::ranges::none_of(runs, was_evaluated))
    spdlog::warn("no held-out scores in these logs (see train.eval_every): panels left out");

  catch_stop_signals();
  const ProcessResult drawn = run_gnuplot(plot_script(runs, terminal));
  if (stop_signal()) return 128 + stop_signal();
  if (drawn.exit_code != 0 || drawn.output.empty())
    throw Error(format("gnuplot could not draw the plot (exit code {}): {}", drawn.exit_code,
                       drawn.errors));
  write_text(out, drawn.output);
  if (globals.json)
    print_json({{"out", out.string()}, {"runs", runs_json(runs, o.runs)}});
  else
    fmt::print("{}\n", out.string());
  return kExitDone;
}

}  // namespace

Action setup_plot(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<PlotOptions>();
  app.add_option("runs", o->runs, "Directories of training runs, or their train_log.csv")
      ->type_name("RUN")
      ->required();
  add_out_option(app, globals, "Picture to write, .svg or .png; default plot.svg");
  return [o, &globals] { return plot(*o, globals); };
}

}  // namespace axl
