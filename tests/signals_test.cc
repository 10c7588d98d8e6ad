#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "axl/base/parallel.h"
#include "cli/signals.h"

namespace axl {
namespace {

/// The wait status of a child that runs `body`.
int status_of_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

void send_to_itself(int signal) { kill(getpid(), signal); }

void wait_for_stop_signal() {
  while (stop_signal() == 0) std::this_thread::yield();
}

TEST(Signals, TheFirstIsRememberedAndTheSecondEndsTheProgram) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int first = status_of_child([signal] {
      catch_stop_signals();
      if (stop_signal() != 0) return 1;
      send_to_itself(signal);
      wait_for_stop_signal();
      return stop_signal() == signal ? 0 : 2;
    });
    EXPECT_TRUE(WIFEXITED(first) && WEXITSTATUS(first) == 0);
    const int second = status_of_child([signal] {
      catch_stop_signals();
      send_to_itself(signal);
      wait_for_stop_signal();
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      send_to_itself(SIGINT);
      for (;;) pause();
      return 3;
    });
    EXPECT_TRUE(WIFSIGNALED(second) && WTERMSIG(second) == SIGINT);
  }
}

// As `timeout` does: to the process, and to its group.
TEST(Signals, OneRequestMaySendTwo) {
  const int status = status_of_child([] {
    catch_stop_signals();
    send_to_itself(SIGTERM);
    send_to_itself(SIGINT);
    wait_for_stop_signal();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return 0;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Signals, EndsACommandThatDoesNotLookAtThem) {
  const int status = status_of_child([] {
    watch_stop_signals();
    send_to_itself(SIGTERM);
    for (;;) pause();
    return 1;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(Signals, IgnoresWhatWasIgnored) {
  const int status = status_of_child([] {
    signal(SIGINT, SIG_IGN);
    watch_stop_signals();
    send_to_itself(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return 4;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4);
}

// As nohup wants it.
TEST(Signals, AClosedTerminalStopsNothingThatIgnoresIt) {
  const int status = status_of_child([] {
    signal(SIGHUP, SIG_IGN);
    catch_stop_signals();
    send_to_itself(SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return stop_signal() == 0 ? 5 : 1;
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

bool is_kept_from_stop_signals() {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1 &&
         sigismember(&blocked, SIGHUP) == 1;
}

// oneDNN's products do not stand it.
TEST(Signals, InterruptNoThreadThatComputes) {
  const int status = status_of_child([] {
    if (is_kept_from_stop_signals()) return 1;
    watch_stop_signals();
    set_num_threads(2);
    std::atomic<bool> all_kept{true}, both_came{false};
    while (!both_came)
      parallel_for_ranges(2, [&](int64_t, int64_t) {
        if (!is_kept_from_stop_signals()) all_kept = false;
        if (thread_index() == 1) both_came = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    return all_kept ? 0 : 2;
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace axl
