#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "axl/base/parallel.h"
#include "cli/signals.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

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
  for (const int signal : {SIGINT, SIGTERM}) {
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

/// Whether each thread of this process keeps `signals`, bits of a mask, from itself; their number.
std::pair<bool, int> all_threads_block(uint64_t signals) {
  bool all = true;
  int threads = 0;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "status");
    const std::string status(std::istreambuf_iterator<char>(file), {}), field = "SigBlk:";
    const uint64_t blocked =
        std::stoull(status.substr(status.find(field) + field.size()), nullptr, 16);
    all = all && (blocked & signals) == signals;
    ++threads;
  }
  return {all, threads};
}

// oneDNN's products do not stand it.
TEST(Signals, InterruptNoThread) {
  const int status = status_of_child([] {
    const uint64_t both = uint64_t{1} << (SIGINT - 1) | uint64_t{1} << (SIGTERM - 1);
    if (all_threads_block(both).first) return 1;
    watch_stop_signals();
    set_num_threads(2);
    parallel_for(2, [](int64_t) {});
    const auto [all, threads] = all_threads_block(both);
    return threads < 3 ? 2 : all ? 0 : 3;  // two that compute, one that waits for signals
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace axl
