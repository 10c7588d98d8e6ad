#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <string_view>

namespace axl {
namespace {

constexpr double kTerminalSeconds = 0.1;
constexpr const char* kClear = "\r\033[K";

// Logs may come from several threads, and know nothing of the Progress that stands in their way.
std::mutex mutex;
std::FILE* shown_on = nullptr;

void clear_locked() {
  if (!shown_on) return;
  std::fputs(kClear, shown_on);
  std::fflush(shown_on);
  shown_on = nullptr;
}

bool is_terminal(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) && !(term && std::string_view(term) == "dumb");
}

/// A line that wraps could not be rewritten, so it is cut to the width of the terminal.
size_t columns(std::FILE* out) {
  winsize size = {};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Progress::Progress(bool quiet, double plain_seconds, std::FILE* out)
    : quiet_(quiet),
      terminal_(is_terminal(out)),
      seconds_(terminal_ ? kTerminalSeconds : plain_seconds),
      out_(out) {
  // What is over at once needs no line in a log.
  if (!terminal_) next_ = Clock::now() + std::chrono::seconds(1);
}

Progress::~Progress() { clear_progress_line(); }

void Progress::update(const std::string& line) {
  const Clock::time_point now = Clock::now();
  if (quiet_ || now < next_) return;
  next_ =
      now + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds_));
  if (!terminal_) return print(line);
  const std::lock_guard lock(mutex);
  std::fprintf(out_, "%s%s", kClear, line.substr(0, columns(out_) - 1).c_str());
  std::fflush(out_);
  shown_on = out_;
}

void Progress::print(const std::string& line) {
  if (quiet_) return;
  const std::lock_guard lock(mutex);
  clear_locked();
  std::fprintf(out_, "%s\n", line.c_str());
  std::fflush(out_);
}

void clear_progress_line() {
  const std::lock_guard lock(mutex);
  clear_locked();
}

}  // namespace axl
