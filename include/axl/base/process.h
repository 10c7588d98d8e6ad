#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "axl/base/error.h"

namespace axl {

/// The program to be run is not installed. The message names it; callers add what to install.
class ProgramNotFound : public Error {
 public:
  using Error::Error;
};

/// The first executable file called `name` in the directories of $PATH; empty when there is none.
std::filesystem::path find_program(const std::string& name);

struct ProcessResult {
  int exit_code = 0;     ///< 128 + signal number when a signal ended it, as a shell has it
  bool stopped = false;  ///< by should_stop
  std::string output;    ///< all that it wrote to stdout
  std::string errors;    ///< and to stderr
};

/// Runs argv[0], looked up in PATH, with the arguments argv[1..] as they are: no shell reads them.
/// It reads `input` from stdin. Returns when it has ended; a failure of its own is an exit code,
/// not an exception. While it runs, should_stop (may be null) is asked several times a second; once
/// it says true the program gets SIGTERM and, two seconds later, SIGKILL. The program also gets
/// SIGTERM when this process dies, and SIGKILL when should_stop throws. Input and output are held
/// in memory. Throws ProgramNotFound when there is no such program, Error when it cannot be
/// started.
ProcessResult run_process(std::span<const std::string> argv, std::string_view input = {},
                          const std::function<bool()>& should_stop = nullptr);

}  // namespace axl
