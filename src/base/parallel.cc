#include "axl/base/parallel.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace axl {
namespace {

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
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Returns once `value` is no longer `old`. Asleep if that takes long, so that whoever else wants
/// the core gets it.
void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old) {
  constexpr int kSpins = 2000;
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

struct Loop {
  int64_t n;
  detail::Sharing sharing;
  detail::LoopBody run;
  const void* body;
};

/// A Loop that a thread may read while the next one is being written. What it reads then is a
/// mixture that it must not use; that it is one shows in whatever was closed before the writing
/// began.
class SharedLoop {
 public:
  void store(const Loop& l) {
    n_.store(l.n, std::memory_order_release);
    sharing_.store(l.sharing, std::memory_order_release);
    run_.store(l.run, std::memory_order_release);
    body_.store(l.body, std::memory_order_release);
  }
  Loop load() const {
    return {n_.load(std::memory_order_acquire), sharing_.load(std::memory_order_acquire),
            run_.load(std::memory_order_acquire), body_.load(std::memory_order_acquire)};
  }

 private:
  std::atomic<int64_t> n_{0};
  std::atomic<detail::Sharing> sharing_{};
  std::atomic<detail::LoopBody> run_{nullptr};
  std::atomic<const void*> body_{nullptr};
};

/// Threads that run loops together with the one that begins a loop. Nobody waits for a thread that
/// has not come yet: whoever is there does all the work, so that a thread whose core something else
/// uses delays a loop by no more than the part that it has already begun.
class Pool {
 public:
  Pool() : threads_(library_threads()) {}
  ~Pool() { stop(); }

  int threads() const { return threads_; }
  void resize(int n) {
    if (n == threads_) return;
    stop();
    threads_ = n;
  }

  /// False, and nothing done, when another thread's loop is running.
  bool run(const Loop& loop) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    start();
    const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    ticket_.store(kClosed, std::memory_order_relaxed);
    loop_.store(loop);
    done_.store(0, std::memory_order_relaxed);
    if (loop.sharing == detail::Sharing::kContiguous)
      for (Run& run : runs_) run.state.store(open(round), std::memory_order_relaxed);
    else
      ticket_.store(uint64_t{round} << 32, std::memory_order_release);
    round_.store(round, std::memory_order_release);
    round_.notify_all();
    take_part(round, 0);
    for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != loop.n;)
      wait_while_equal(done_, done);
    return true;
  }

 private:
  void start() {
    if (static_cast<int>(workers_.size()) == threads_ - 1) return;
    const uint32_t round = round_.load(std::memory_order_relaxed);
    runs_ = std::vector<Run>(threads_);
    for (int i = 1; i < threads_; ++i) workers_.emplace_back(&Pool::work, this, i, round);
  }

  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false, std::memory_order_relaxed);
  }

  void work(int index, uint32_t round) {
    t_index = index;
    for (;;) {
      wait_while_equal(round_, round);
      round = round_.load(std::memory_order_acquire);
      if (stopping_.load(std::memory_order_relaxed)) return;
      take_part(round, index);
    }
  }

  // Who comes late may read a later round's loop here, but takes nothing: its own round was closed
  // before, every run of it being taken and its ticket void.
  void take_part(uint32_t round, int index) {
    const bool before = std::exchange(t_alone, true);
    const Loop loop = loop_.load();
    const int64_t did = loop.sharing == detail::Sharing::kContiguous ? take_runs(loop, round, index)
                                                                     : take_indices(loop, round);
    t_alone = before;
    if (did == 0) return;
    done_.fetch_add(static_cast<uint32_t>(did), std::memory_order_acq_rel);
    done_.notify_one();
  }

  // Each thread has a run of its own, of data that it may still have in its cache; then it looks
  // for those whose thread has not come.
  int64_t take_runs(const Loop& loop, uint32_t round, int index) {
    int64_t did = 0;
    for (int64_t i = 0; i < threads_; ++i) {
      const int64_t run = (index + i) % threads_;
      uint64_t state = open(round);
      if (!runs_[run].state.compare_exchange_strong(state, taken(round), std::memory_order_acq_rel))
        continue;
      const int64_t begin = run * loop.n / threads_, end = (run + 1) * loop.n / threads_;
      loop.run(loop.body, begin, end);
      did += end - begin;
    }
    return did;
  }

  int64_t take_indices(const Loop& loop, uint32_t round) {
    int64_t did = 0;
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (ticket >> 32 == round && static_cast<int64_t>(ticket & 0xffffffff) < loop.n) {
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      const auto i = static_cast<int64_t>(ticket & 0xffffffff);
      loop.run(loop.body, i, i + 1);
      ++did;
      ticket = ticket_.load(std::memory_order_acquire);
    }
    return did;
  }

  static constexpr uint64_t kClosed = ~uint64_t{0};
  static uint64_t open(uint32_t round) { return uint64_t{round} << 1; }
  static uint64_t taken(uint32_t round) { return open(round) + 1; }
  struct alignas(64) Run {
    std::atomic<uint64_t> state{kClosed};
  };

  std::mutex mutex_;  ///< held while a loop runs
  std::vector<std::thread> workers_;
  std::vector<Run> runs_;  ///< a contiguous one for each thread
  int threads_;
  std::atomic<bool> stopping_{false};
  SharedLoop loop_;

  // Each in a cache line of its own: they are polled.
  alignas(64) std::atomic<uint32_t> round_{0};         ///< counts loops
  alignas(64) std::atomic<uint32_t> done_{0};          ///< indices of this round's loop
  alignas(64) std::atomic<uint64_t> ticket_{kClosed};  ///< the round, and the next index to take
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

SerialSection::SerialSection()
    : library_threads_(library_threads()), alone_(std::exchange(t_alone, true)) {
  set_library_threads(1);
}
SerialSection::~SerialSection() {
  set_library_threads(library_threads_);
  t_alone = alone_;
}

void detail::run_loop(int64_t n, Sharing sharing, LoopBody run, const void* body) {
  if (!pool().run({n, sharing, run, body})) run(body, 0, n);
}

}  // namespace axl
