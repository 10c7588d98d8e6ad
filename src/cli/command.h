#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace CLI {
class App;
}

namespace axl {

/// Exit codes besides 128 + signal number after a signal.
enum ExitCode { kExitDone = 0, kExitFailed = 1, kExitUsage = 2 };

/// Options that every subcommand has.
struct Globals {
  std::string model;    ///< --model as given; resolve_model() finds the file
  int64_t threads = 0;  ///< --threads; 0: one per physical core
  bool json = false;    ///< one JSON object on stdout, nothing else there
  bool quiet = false;   ///< no progress, no logs below warnings
  bool verbose = false;
  std::string out;  ///< -o/--out of commands that write, see add_out_option
};

/// Runs a command whose options have been parsed; returns its exit code. Throws Error.
using Action = std::function<int()>;

/// A subcommand. `setup` declares its own options on `app` and returns what runs it.
struct Command {
  const char* name;
  const char* summary;
  Action (*setup)(CLI::App& app, Globals& globals);
};

/// All subcommands, in the order `axl --help` lists them.
std::span<const Command> commands();

/// Declares -o/--out, stored in globals.out. `help` says what is written and the default.
void add_out_option(CLI::App& app, Globals& globals, const std::string& help);

/// Declares --draft, how many bytes to guess ahead.
void add_draft_option(CLI::App& app, int64_t& draft, const std::string& help);

}  // namespace axl
