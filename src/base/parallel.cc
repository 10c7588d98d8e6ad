#include "axl/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "axl/base/clock.h"
#include "shared_loop.h"

#ifdef _OPENMP
#include <omp.h>
#endif

// tests/late_threads_test.cc compiles this file with something here that lets other threads run.
#ifndef AXL_BETWEEN_STEPS
#define AXL_BETWEEN_STEPS()
#endif

namespace axl {
namespace {

using detail::Loop;
using detail::SharedLoop;
using detail::Sharing;

thread_local int t_index = 0;
thread_local bool t_alone = false;  // inside a loop or a SerialSection

#ifdef _OPENMP
int library_threads() { return omp_get_max_threads(); }
void set_library_threads(int n) { omp_set_num_threads(n); }
#else
int library_threads() { return 1; }
void set_library_threads(int) {}
#endif

inline void pause_briefly() {
  AXL_BETWEEN_STEPS();
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Returns once `value` is no longer `old`. Asleep if that takes long, so that whoever else wants
/// the core gets it.
void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old) {
  constexpr int kSpins = 7000;
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

/// A contiguous part of each loop, of which threads take indices from the front.
class alignas(64) Run {
 public:
  /// Takes `count` of the `size` indices that it has in `round`. Returns how many were taken
  /// before, or nothing where fewer are left; of a round that is over all are taken.
  std::optional<int64_t> take(uint32_t round, int64_t size, int64_t count) {
    uint64_t last = taken_.load(std::memory_order_acquire);
    for (;;) {
      const auto newer = static_cast<int32_t>(round - static_cast<uint32_t>(last >> 32));
      const int64_t before = newer > 0 ? 0 : static_cast<uint32_t>(last);
      if (newer < 0 || before + count > size) return std::nullopt;
      const uint64_t now = uint64_t{round} << 32 | static_cast<uint32_t>(before + count);
      if (taken_.compare_exchange_weak(last, now, std::memory_order_acq_rel)) return before;
    }
  }
  void close(uint32_t round) {
    taken_.store(uint64_t{round} << 32 | ~uint32_t{0}, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> taken_{0};  ///< the last round, and how many of its indices
};

/// Whether every thread runs a part of a loop: who sleeps comes too late.
bool all_take_part() {
  std::atomic<int64_t> others{0};
  parallel_for_ranges(max_threads(), [&](int64_t begin, int64_t end) {
    if (thread_index() != 0) others += end - begin;
  });
  return others == max_threads() - 1;
}

/// Of loops in which every thread takes part, or nothing if the others do not come: a new thread
/// may wait for milliseconds until it has a core of its own. Whoever does a late one's part has
/// waited for it first, ten times as long as a loop takes.
std::optional<double> measured_loop_seconds() {
  constexpr int kRuns = 20, kLoops = 20;
  constexpr std::chrono::milliseconds kPatience(1);
  const Clock::time_point begin = Clock::now();
  std::optional<double> best;
  for (int run = 0; run < kRuns && Clock::now() - begin < kPatience;) {
    if (!all_take_part()) continue;
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < kLoops; ++i) parallel_for_ranges(max_threads(), [](int64_t, int64_t) {});
    const double seconds = seconds_since(start) / kLoops;
    if (!all_take_part()) continue;
    best = std::min(best.value_or(seconds), seconds);
    ++run;
  }
  return best;
}

/// Threads that run loops together with the one that begins a loop. Each has a run of its own, of
/// data that it may still have in its cache. Nobody waits long for a thread that has not come yet:
/// others do its run too, so that a thread whose core something else uses delays a loop by little
/// more than the part that it has already begun.
class Pool {
 public:
  Pool() : threads_(library_threads()) {}
  ~Pool() { stop(); }

  int threads() const { return threads_; }
  void resize(int n) {
    if (n == threads_) return;
    stop();
    threads_ = n;
    loop_seconds_ = 0;
    next_measurement_ = Clock::time_point();
  }
  double loop_seconds() {
    if (threads_ > 1 && loop_seconds_ == 0 && Clock::now() >= next_measurement_.load()) {
      loop_seconds_ = measured_loop_seconds().value_or(0);
      next_measurement_ = Clock::now() + kBetweenMeasurements;
    }
    return loop_seconds_;
  }

  /// False, and nothing done, when another thread's loop is running.
  bool run(const Loop& loop) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    start();
    const uint32_t round = loop_.round.load(std::memory_order_relaxed) + 1;
    loop_.store(loop, round);
    loop_.round.notify_all();
    by_others_ += static_cast<uint32_t>(loop.n - take_part(loop, round, 0));
    if (loop.sharing == Sharing::kContiguous && !others_are_done_soon())
      for (int i = 1; i < threads_; ++i)
        by_others_ -= static_cast<uint32_t>(take_part(loop, round, i));
    for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != by_others_;)
      wait_while_equal(done_, done);
    return true;
  }

 private:
  // As long as there is nobody to measure with, trying takes a fiftieth of the time at most.
  static constexpr std::chrono::milliseconds kBetweenMeasurements{50};

  void start() {
    if (static_cast<int>(workers_.size()) == threads_ - 1) return;
    const uint32_t round = loop_.round.load(std::memory_order_relaxed);
    runs_ = std::vector<Run>(threads_);
    for (Run& run : runs_) run.close(round);
    for (int i = 1; i < threads_; ++i) workers_.emplace_back(&Pool::work, this, i, round);
  }

  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    const uint32_t round = loop_.round.load(std::memory_order_relaxed);
    loop_.round.store(round + 1);
    loop_.round.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false, std::memory_order_relaxed);
  }

  // Who comes late takes nothing: of its own round every run is taken.
  void work(int index, uint32_t round) {
    t_index = index;
    for (;;) {
      wait_while_equal(loop_.round, round);
      round = loop_.round.load(std::memory_order_acquire);
      if (stopping_.load(std::memory_order_relaxed)) return;
      AXL_BETWEEN_STEPS();
      const std::optional<Loop> loop = loop_.load(round);
      AXL_BETWEEN_STEPS();
      const int64_t did = loop ? take_part(*loop, round, index) : 0;
      if (did == 0) continue;
      done_.fetch_add(static_cast<uint32_t>(did), std::memory_order_acq_rel);
      done_.notify_one();
    }
  }

  /// Asking whether a run was taken costs two passes of a cache line from core to core, its own
  /// thread's next one included: so much that one waits a little first.
  bool others_are_done_soon() const {
    constexpr int kSpins = 100;
    for (int i = 0; i < kSpins; ++i) {
      if (done_.load(std::memory_order_acquire) == by_others_) return true;
      pause_briefly();
    }
    return false;
  }

  /// Run `index`, or index by index whatever is left of it and of the others, as the loop is
  /// shared. Returns how many indices the calling thread did.
  int64_t take_part(const Loop& loop, uint32_t round, int64_t index) {
    // Nobody waits for a thread without a run: what the loop refers to may be gone.
    const int64_t runs = std::min<int64_t>(threads_, loop.n);
    const bool before = std::exchange(t_alone, true);
    int64_t did = 0;
    if (loop.sharing == Sharing::kNextFree)
      for (int64_t i = 0; i < runs; ++i) did += take_run(loop, round, (index + i) % runs, runs);
    else if (index < runs)
      did = take_run(loop, round, index, runs);
    t_alone = before;
    return did;
  }

  /// Run `index`: whole, or as many of its indices as others leave.
  int64_t take_run(const Loop& loop, uint32_t round, int64_t index, int64_t runs) {
    const int64_t first = index * loop.n / runs, size = (index + 1) * loop.n / runs - first;
    const int64_t count = loop.sharing == Sharing::kContiguous ? size : 1;
    int64_t did = 0;
    while (did < size) {
      const std::optional<int64_t> taken = runs_[index].take(round, size, count);
      if (!taken) break;
      loop.run(loop.body, first + *taken, first + *taken + count);
      did += count;
    }
    return did;
  }

  std::mutex mutex_;  ///< held while a loop runs
  std::vector<std::thread> workers_;
  std::vector<Run> runs_;  ///< one for each thread
  int threads_;
  std::atomic<double> loop_seconds_{0};  ///< 0: not measured yet
  std::atomic<Clock::time_point> next_measurement_{};
  uint32_t by_others_ = 0;  ///< indices that other threads have done, or are to do
  std::atomic<bool> stopping_{false};

  // Each in a cache line of its own: they are polled.
  SharedLoop loop_;
  alignas(64) std::atomic<uint32_t> done_{0};  ///< indices that other threads have done
};

Pool& pool() {
  static Pool all;
  return all;
}

}  // namespace

void set_num_threads(int n) { pool().resize(n); }
int num_threads() { return t_alone ? 1 : pool().threads(); }
int thread_index() { return t_index; }
int max_threads() { return pool().threads(); }
double loop_seconds() { return pool().loop_seconds(); }

SerialSection::SerialSection()
    : library_threads_(library_threads()), alone_(std::exchange(t_alone, true)) {
  set_library_threads(1);
}
SerialSection::~SerialSection() {
  set_library_threads(library_threads_);
  t_alone = alone_;
}

void detail::run_loop(int64_t n, Sharing sharing, LoopBody run, const BodyWords& body) {
  if (!pool().run({n, sharing, run, body})) run(body, 0, n);
}

}  // namespace axl
