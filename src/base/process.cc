#include "axl/base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// Which files stand for a child's stdin, stdout and stderr.
class FileActions {
 public:
  FileActions(const fs::path& out, const fs::path& err) {
    check(posix_spawn_file_actions_init(&actions_));
    open(STDIN_FILENO, "/dev/null", O_RDONLY);
    open(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
    open(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
  }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  static void check(int reason) {
    if (reason != 0) throw Error(format("cannot prepare a process: {}", strerror(reason)));
  }
  void open(int fd, const fs::path& path, int flags) {
    check(posix_spawn_file_actions_addopen(&actions_, fd, path.c_str(), flags, 0600));
  }

  posix_spawn_file_actions_t actions_;
};

/// A running child; the destructor kills it if nobody has waited for its end.
class Child {
 public:
  Child(const std::vector<std::string>& arguments, const FileActions& files) {
    std::vector<char*> argv;
    for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    const int reason = posix_spawn(&pid_, argv[0], files.get(), nullptr, argv.data(), environ);
    if (reason != 0) throw Error(format("{}: cannot start: {}", arguments[0], strerror(reason)));
  }
  ~Child() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// The exit code once the child has ended.
  std::optional<int> poll() {
    int status = 0;
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
    if (ended < 0) throw Error(format("cannot wait for a process: {}", strerror(errno)));
    pid_ = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = 0;
};

std::string last_line(const std::string& text) {
  std::istringstream lines(text);
  std::string line, last;
  while (std::getline(lines, line))
    if (line.find_first_not_of(" \t\r") != line.npos) last = line;
  return last;
}

}  // namespace

fs::path find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream directories(path ? path : "/usr/bin:/bin");
  std::string directory;
  while (std::getline(directories, directory, ':')) {
    const fs::path candidate = fs::path(directory.empty() ? "." : directory) / name;
    std::error_code absent;
    if (fs::is_regular_file(candidate, absent) && access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return {};
}

std::optional<ProcessResult> run_process(const std::vector<std::string>& arguments,
                                         const fs::path& out,
                                         const std::function<bool()>& keep_going) {
  AXL_CHECK(!arguments.empty());
  const TemporaryDirectory scratch;
  const fs::path err = scratch.path() / "stderr";
  const FileActions files(out, err);
  Child child(arguments, files);
  std::optional<int> code;
  // Short sleeps first: many small files are each compressed in a few milliseconds.
  for (auto pause = std::chrono::milliseconds(1); !(code = child.poll());) {
    if (keep_going && !keep_going()) return std::nullopt;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(50));
  }
  return ProcessResult{*code, last_line(read_text(err))};
}

TemporaryDirectory::TemporaryDirectory() {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  std::string name = ((error ? fs::path("/tmp") : parent) / "axl.XXXXXX").string();
  if (!mkdtemp(name.data()))
    throw Error(
        format("{}: cannot create a temporary directory: {}; $TMPDIR may name another place", name,
               strerror(errno)));
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace axl
