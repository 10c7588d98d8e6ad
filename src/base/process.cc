#include "axl/base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "axl/base/clock.h"
#include "axl/base/format.h"

namespace axl {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void fail(const std::string& program, const char* what) {
  throw Error(format("{}: cannot {}: {}", program, what, std::strerror(errno)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// Files in memory rather than pipes: nobody has to wait for the other side, and a program that does
// not read its input raises no SIGPIPE.
int memory_file(const std::string& program) {
  const int fd = memfd_create("axl", MFD_CLOEXEC);
  if (fd < 0) fail(program, "make a file in memory for its input and output");
  return fd;
}

void fill(int fd, std::string_view text, const std::string& program) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(program, "hold its input in memory");
    text.remove_prefix(written);
  }
  lseek(fd, 0, SEEK_SET);
}

std::string contents(int fd, const std::string& program) {
  std::string text(lseek(fd, 0, SEEK_END), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = pread(fd, text.data() + done, text.size() - done, done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail(program, "read its output");
    done += got;
  }
  return text;
}

struct Streams {
  int in, out, err, exec_error;
};

// Between fork and exec only calls that are safe in a signal handler: another thread may have held
// the heap's lock.
[[noreturn]] void become(char* const* argv, const Streams& s, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // it died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // what we keep from our threads it shall not miss
  if (dup2(s.in, 0) >= 0 && dup2(s.out, 1) >= 0 && dup2(s.err, 2) >= 0) execvp(argv[0], argv);
  const int reason = errno;
  [[maybe_unused]] const ssize_t told = write(s.exec_error, &reason, sizeof reason);
  _exit(127);
}

pid_t start(std::span<const std::string> argv, const Streams& streams) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = getpid(), child = fork();
  if (child < 0) fail(argv[0], "start a process for it");
  if (child == 0) become(words.data(), streams, parent);
  return child;
}

// The pipe closes by itself where exec succeeds.
void require_started(int exec_error, pid_t child, const std::string& program) {
  int reason = 0;
  ssize_t got;
  do got = read(exec_error, &reason, sizeof reason);
  while (got < 0 && errno == EINTR);
  if (got != sizeof reason) return;
  waitpid(child, nullptr, 0);
  if (reason == ENOENT) throw ProgramNotFound(format("{}: no such program in PATH", program));
  errno = reason;
  fail(program, "run it");
}

/// A running child; the destructor kills it where nobody has seen its end.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (pid_ == 0) return;
    send(SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void send(int signal) { kill(pid_, signal); }
  /// The exit code once it has ended.
  std::optional<int> poll() {
    int status = 0;
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended < 0 && errno != EINTR) AXL_CHECK(!"a child process is lost");
    if (ended != pid_) return std::nullopt;
    pid_ = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_;
};

int wait_for(Child& child, const std::function<bool()>& should_stop, bool& stopped) {
  Clock::time_point kill_at = Clock::time_point::max();
  std::optional<int> exit_code;
  for (auto pause = 1ms; !(exit_code = child.poll()); pause = std::min(2 * pause, 50ms)) {
    if (!stopped && should_stop && should_stop()) {
      stopped = true;
      child.send(SIGTERM);
      kill_at = Clock::now() + 2s;
    }
    if (Clock::now() >= kill_at) child.send(SIGKILL);
    std::this_thread::sleep_for(pause);
  }
  return *exit_code;
}

}  // namespace

std::filesystem::path find_program(const std::string& name) {
  namespace fs = std::filesystem;
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

ProcessResult run_process(std::span<const std::string> argv, std::string_view input,
                          const std::function<bool()>& should_stop) {
  AXL_CHECK(!argv.empty());
  const std::string& program = argv[0];
  const Descriptor in(memory_file(program)), out(memory_file(program)), err(memory_file(program));
  fill(in.get(), input, program);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(program, "make a pipe");
  const Descriptor exec_error(ends[0]);
  Descriptor childs_end(ends[1]);

  const pid_t pid = start(argv, {in.get(), out.get(), err.get(), childs_end.get()});
  childs_end.close();
  require_started(exec_error.get(), pid, program);

  Child child(pid);
  ProcessResult result;
  result.exit_code = wait_for(child, should_stop, result.stopped);
  result.output = contents(out.get(), program);
  result.errors = contents(err.get(), program);
  return result;
}

}  // namespace axl
