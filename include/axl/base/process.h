#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace axl {

/// The first executable file called `name` in the directories of $PATH; empty when there is none.
std::filesystem::path find_program(const std::string& name);

/// How a child process ended.
struct ProcessResult {
  int exit_code = 0;       ///< 128 + signal number when a signal ended it
  std::string last_words;  ///< last line that is not blank of what it wrote to stderr
};

/// Runs arguments[0], a path, as a child process, without a shell. Its stdin is empty, its stdout
/// goes to the file `out`, its stderr is read. `keep_going`, called about 20 times a second,
/// returns false to have the child killed; the result is then empty. The child is gone when this
/// returns or throws. Throws Error when the program cannot be started or `out` not be written.
std::optional<ProcessResult> run_process(const std::vector<std::string>& arguments,
                                         const std::filesystem::path& out,
                                         const std::function<bool()>& keep_going);

/// A new directory in $TMPDIR, else /tmp, removed at the end of the scope with all it holds.
class TemporaryDirectory {
 public:
  /// Throws Error.
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace axl
