#include "cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "axl/base/clock.h"

namespace axl {
namespace {

// A shell or `timeout` may send a request to the process and again to its group, at once; whoever
// asks a second time does so later.
constexpr std::chrono::milliseconds kSameRequest{200};

std::atomic<bool> caught{false};  // the command looks at stop_signal()
std::atomic<int> received{0};
std::atomic<pid_t> watched{0};  // the process that has a thread for them: a fork has none

/// Whoever starts a program with nohup has it ignore that its terminal goes away.
bool is_ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (!is_ignored(SIGHUP)) sigaddset(&set, SIGHUP);
  return set;
}

/// Ends the program as if nobody had waited for the signal: not at all, if it is ignored.
void end_by(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  raise(signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

[[noreturn]] void watch() {
  const sigset_t signals = stop_signals();
  std::optional<Clock::time_point> first;
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const Clock::time_point now = Clock::now();
    if (!caught) {
      end_by(signal);
    } else if (!first) {
      first = now;
      received = signal;
    } else if (now - *first >= kSameRequest) {
      end_by(signal);
    }
  }
}

}  // namespace

void watch_stop_signals() {
  if (watched.exchange(getpid()) == getpid()) return;
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // threads inherit it
  std::thread(watch).detach();
}

void catch_stop_signals() {
  watch_stop_signals();
  caught = true;
}

void obey_stop_signal() { received = 0; }

int stop_signal() { return received; }

}  // namespace axl
