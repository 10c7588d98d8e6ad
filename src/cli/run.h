#pragma once

#include <functional>

namespace axl {

/// The program: finds the subcommand, parses its options, runs it. Returns the exit code; throws
/// nothing. Results go to stdout, everything else to stderr.
int run_cli(int argc, const char* const* argv);

/// Calls `body` and turns what it throws into one line on stderr and an exit code.
int run_guarded(const std::function<int()>& body);

}  // namespace axl
