#pragma once

#include <httplib.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace axl {

/// A thread for each connection, made when it is needed and kept, `most` at most. What comes beyond
/// is run at once by the thread that accepts, with refusing() true: it must only say so.
class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  static bool& refusing() {
    thread_local bool refusing = false;
    return refusing;
  }

  void enqueue(std::function<void()> work) override {
    std::unique_lock lock(mutex_);
    if (busy_ == most_) {
      lock.unlock();
      refusing() = true;
      work();
      refusing() = false;
      return;
    }
    work_.push_back(std::move(work));
    if (++busy_ > threads_.size()) threads_.emplace_back([this] { run(); });
    arrived_.notify_one();
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    arrived_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      arrived_.wait(lock, [&] { return stopping_ || !work_.empty(); });
      if (work_.empty()) return;
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
      lock.lock();
      --busy_;
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> work_;
  std::vector<std::thread> threads_;
  size_t busy_ = 0;  ///< connections that are served or wait for a thread to start
  bool stopping_ = false;
};

}  // namespace axl
