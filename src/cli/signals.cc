#include "cli/signals.h"

#include <atomic>
#include <csignal>

namespace axl {
namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free);  // may be written in a signal handler

void set_handler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void remember(int signal) {
  received = signal;
  set_handler(SIG_DFL);
}

}  // namespace

void catch_stop_signals() { set_handler(remember); }

void obey_stop_signal() { received = 0; }

int stop_signal() { return received; }

}  // namespace axl
