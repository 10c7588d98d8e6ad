#include "cli/run.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/kernels/isa.h"
#include "cli/command.h"
#include "cli/log.h"
#include "cli/signals.h"
#include "cli/threads.h"

namespace axl {
namespace {

std::string overview() {
  std::string text =
      "axl trains byte-level code language models on a desktop CPU.\n\n"
      "usage: axl COMMAND [OPTIONS]\n\ncommands:\n";
  for (const Command& command : commands()) {
    text += format("  {:<12}{}\n", command.name, command.summary);
  }
  return text +
         "\nto begin:\n"
         "  axl train --config axl_micro_600k --data DIR\n"
         "  axl generate \"def \"\n"
         "\n'axl COMMAND --help' lists the options of a command, 'axl --version' the version.\n";
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    names.emplace_back(command.name);
  }
  if (name.starts_with('-')) {
    throw UsageError(format(
        "'{}' stands where a command is expected; options follow it (see 'axl --help')", name));
  }
  throw UsageError(
      format("unknown command '{}' (see 'axl --help'){}", name, did_you_mean(name, names)));
}

void add_global_options(CLI::App& app, Globals& globals) {
  // A command that works on several models has declared its own.
  if (!app.get_option_no_throw("--model")) {
    app.add_option("--model", globals.model,
                   "Model directory or .safetensors file; default $AXL_MODEL, then "
                   "checkpoints/latest")
        ->type_name("PATH");
  }
  app.add_option("--threads", globals.threads, "CPU threads; default one per physical core")
      ->check(CLI::Range(1, 4096).description(""))
      ->type_name("N");
  app.add_flag("--json", globals.json, "Print one JSON object and nothing else to stdout");
  auto* quiet = app.add_flag("--quiet", globals.quiet, "No progress, only warnings and errors");
  app.add_flag("--verbose", globals.verbose, "Log more")->excludes(quiet);
}

std::vector<std::string> known_flags(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

/// A mistyped flag often makes another one seem missing; naming it is the more useful message.
std::string explain(const CLI::ParseError& error, const CLI::App& app) {
  const std::string see = format(" (see '{} --help')", app.get_name());
  for (const std::string& word : app.remaining()) {
    if (word.size() < 2 || word.front() != '-') continue;
    const std::string flag = word.substr(0, word.find('='));
    return format("unknown option '{}'{}{}", flag, see, did_you_mean(flag, known_flags(app)));
  }
  for (const std::string& word : app.remaining()) {
    return format("unexpected argument '{}'{}", word, see);
  }
  return error.what() + see;
}

/// A full disk or a closed pipe must not look like success.
void flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    throw Error(format("cannot write to standard output: {}", std::strerror(errno)));
  }
}

int run_command(const Command& command, int argc, const char* const* argv) {
  CLI::App app(command.summary, std::string("axl ") + command.name);
  Globals globals;
  const Action action = command.setup(app, globals);
  add_global_options(app, globals);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    flush_stdout();
    return kExitDone;
  } catch (const CLI::ParseError& e) {
    throw UsageError(explain(e, app));
  }
  watch_stop_signals();
  set_up_log(globals);
  use_threads(globals.threads);
  kernel_isa();  // a wrong AXL_ISA is told now, not by the first kernel
  const int code = action();
  flush_stdout();
  return stop_signal() != 0 ? 128 + stop_signal() : code;
}

int run(int argc, const char* const* argv) {
  if (argc < 2) {
    std::fputs(overview().c_str(), stderr);
    return kExitUsage;
  }
  const std::string first = argv[1];
  if (first == "--help" || first == "-h") {
    std::fputs(overview().c_str(), stdout);
  } else if (first == "--version") {
    std::printf("axl " AXL_VERSION " (matrix products by " AXL_GEMM ", kernels for %s)\n",
                kernel_isa());
  } else {
    return run_command(find_command(first), argc - 1, argv + 1);
  }
  flush_stdout();
  return kExitDone;
}

}  // namespace

void add_out_option(CLI::App& app, Globals& globals, const std::string& help) {
  app.add_option("-o,--out", globals.out, help)->type_name("PATH");
}

void add_draft_option(CLI::App& app, int64_t& draft, const std::string& help) {
  app.add_option("--draft", draft, help)
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20).description(""))
      ->type_name("N")
      ->capture_default_str();
}

int run_guarded(const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& e) {
    print_error(e.what());
    return kExitUsage;
  } catch (const Error& e) {
    print_error(e.what());
  } catch (const InternalError& e) {
    print_error(format("internal error: {}; this is a defect of axl, please report it", e.what()));
  } catch (const std::bad_alloc&) {
    print_error(
        "out of memory; a smaller train.batch_size, model.max_seq_len or model.d_model needs less");
  } catch (const std::exception& e) {
    print_error(e.what());
  }
  return kExitFailed;
}

int run_cli(int argc, const char* const* argv) {
  return run_guarded([&] { return run(argc, argv); });
}

}  // namespace axl
