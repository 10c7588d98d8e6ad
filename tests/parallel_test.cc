#include "axl/base/parallel.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "axl/base/clock.h"
#include "base/shared_loop.h"
#include "testing.h"

namespace axl {
namespace {

template <class Loop>
void expect_every_index_once(const Loop& loop) {
  for (int64_t n : {0, 1, 2, 3, 7, 1000}) {
    std::vector<int> calls(n);  // written by one thread each: the thread sanitizer watches
    loop(n, [&](int64_t i) { ++calls[i]; });
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(calls[i], 1) << i << " of " << n;
  }
}

TEST(Parallel, EveryIndexRunsOnceOnAnyNumberOfThreads) {
  for (int threads : {1, 2, 3, 5}) {
    const Threads those(threads);
    EXPECT_EQ(num_threads(), threads);
    expect_every_index_once([](int64_t n, const auto& body) { parallel_for(n, body); });
    expect_every_index_once([](int64_t n, const auto& body) { parallel_for_dynamic(n, body); });
  }
}

TEST(Parallel, RunsAreNeverEmpty) {
  const Threads five(5);
  for (int64_t n : {1, 2, 3, 4, 5, 6, 11}) {
    std::vector<int> calls(n);
    std::atomic<int> empty{0};
    parallel_for_ranges(n, [&](int64_t begin, int64_t end) {
      empty += begin >= end;
      for (int64_t i = begin; i < end; ++i) ++calls[i];
    });
    EXPECT_EQ(empty, 0) << n;
    for (const int c : calls) EXPECT_EQ(c, 1) << n;
  }
}

// Copies of small bodies travel with the loop, larger ones stay where they are: each must arrive
// whole, for every round anew.
template <size_t kWords>
void expect_body_arrives() {
  for (int64_t round = 0; round < 2000; ++round) {
    std::array<int64_t, 6> got{};
    std::array<int64_t, kWords> captured{};
    for (size_t i = 0; i < kWords; ++i) captured[i] = round * 10 + static_cast<int64_t>(i);
    int64_t* to = got.data();
    const auto body = [captured, to](int64_t i) {
      for (size_t k = 0; k < kWords; ++k) to[i] += captured[k] * static_cast<int64_t>(k + 1);
    };
    static_assert(detail::kIsSmall<decltype(body)> == (kWords <= 3));
    std::array<int64_t, 6> expected{};
    for (int64_t i = 0; i < 6; ++i)
      for (size_t k = 0; k < kWords; ++k) expected[i] += captured[k] * static_cast<int64_t>(k + 1);
    parallel_for(6, body);
    ASSERT_EQ(got, expected) << round;
  }
}

TEST(Parallel, BodiesOfAnySizeArriveWhole) {
  const Threads three(3);
  expect_body_arrives<1>();
  expect_body_arrives<3>();
  expect_body_arrives<4>();
  expect_body_arrives<9>();
}

// Loops of both kinds and of all sizes in turn, so short that threads often come too late.
TEST(Parallel, AThreadThatComesLateTakesNothingOfTheNextLoop) {
  const Threads four(4);
  std::vector<int64_t> sums(64);
  int64_t expected = 0;
  for (int64_t round = 0; round < 20000; ++round) {
    const int64_t n = round * 7 % 13 + 2;
    const auto body = [&, round](int64_t i) { sums[i] += round; };
    if (round * 5 % 3 == 0)
      parallel_for_dynamic(n, body);
    else
      parallel_for(n, body);
    expected += n * round;
  }
  int64_t sum = 0;
  for (int64_t s : sums) sum += s;
  EXPECT_EQ(sum, expected);
}

TEST(SharedLoop, IsGoneOnceALaterOneBegins) {
  detail::SharedLoop shared;
  shared.store({2, detail::Sharing::kContiguous, nullptr, {1, 2, 3, 4}}, 2);
  ASSERT_TRUE(shared.load(2));
  EXPECT_EQ(shared.load(2)->n, 2);
  shared.store({3, detail::Sharing::kNextFree, nullptr, {5, 6, 7, 8}}, 4);
  EXPECT_FALSE(shared.load(2)) << "who saw round 2 and comes late must not run round 4's loop";
  EXPECT_EQ(shared.load(4)->body, (detail::BodyWords{5, 6, 7, 8}));
}

// A loop's parts are written one after another while others read them.
TEST(SharedLoop, IsNeverReadAsAMixture) {
  detail::SharedLoop shared;
  constexpr uint32_t kLast = 300000;
  int64_t read = 0, mixed = 0, gone = 0;
  std::thread reader([&] {
    for (uint32_t round = 0; round < kLast;) {
      round = shared.round.load(std::memory_order_acquire);
      const std::optional<detail::Loop> loop = shared.load(round);
      if (!loop) {
        ++gone;
        continue;
      }
      ++read;
      mixed += loop->n != round;
      for (const uint64_t word : loop->body) mixed += word != round;
    }
  });
  for (uint32_t round = 1; round <= kLast; ++round)
    shared.store({round, detail::Sharing::kNextFree, nullptr, {round, round, round, round}}, round);
  reader.join();
  EXPECT_EQ(mixed, 0) << read << " read, " << gone << " gone";
  EXPECT_GT(read, 0);
}

TEST(Parallel, OtherThreadsTakePart) {
  const Threads two(2);
  std::atomic<int> arrived{0};
  // Each index waits for the other, which one thread alone could never see.
  parallel_for(2, [&](int64_t) {
    const auto end = Clock::now() + std::chrono::minutes(1);
    ++arrived;
    while (arrived < 2 && Clock::now() < end) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

// What a thread wrote in one loop it reads in the next, whatever the kind of loop.
TEST(Parallel, AThreadBeginsWithTheIndicesOfItsRun) {
  const Threads two(2);
  for (int64_t round = 0; round < 20; ++round) {
    std::array<std::atomic<int>, 2> first{-1, -1};
    std::atomic<int> arrived{0};
    parallel_for_dynamic(10, [&](int64_t i) {
      int none = -1;
      if (!first[thread_index()].compare_exchange_strong(none, static_cast<int>(i))) return;
      const auto end = Clock::now() + std::chrono::minutes(1);
      ++arrived;
      while (arrived < 2 && Clock::now() < end) std::this_thread::yield();
    });
    EXPECT_EQ(first[0], 0);
    EXPECT_EQ(first[1], 5);
  }
}

TEST(Parallel, AThreadTakesWhatIsLeftOfAnothersRun) {
  const Threads two(2);
  std::vector<int> by(10, -1);
  std::atomic<int> done{0};
  parallel_for_dynamic(10, [&](int64_t i) {
    by[i] = thread_index();
    const auto end = Clock::now() + std::chrono::minutes(1);
    if (i == 5)  // until all others are done, by the other thread
      while (done < 9 && Clock::now() < end) std::this_thread::yield();
    ++done;
  });
  EXPECT_EQ(done, 10);
  for (int64_t i = 6; i < 10; ++i) EXPECT_NE(by[i], by[5]) << i;
}

TEST(Parallel, ThreadIndexIsBelowTheirNumber) {
  const Threads three(3);
  std::vector<int> index(300, -1);
  parallel_for_dynamic(300, [&](int64_t i) { index[i] = thread_index(); });
  for (int i : index) EXPECT_TRUE(i >= 0 && i < 3) << i;
  EXPECT_EQ(thread_index(), 0);
}

TEST(Parallel, ANestedLoopStaysOnItsThread) {
  const Threads two(2);
  std::atomic<int> elsewhere{0};
  parallel_for(8, [&](int64_t) {
    EXPECT_EQ(num_threads(), 1);
    const auto here = std::this_thread::get_id();
    parallel_for(8, [&](int64_t) { elsewhere += std::this_thread::get_id() != here; });
  });
  EXPECT_EQ(elsewhere, 0);
  EXPECT_EQ(num_threads(), 2);
}

TEST(Parallel, ASerialSectionStaysOnItsThread) {
  const Threads two(2);
  {
    const SerialSection alone;
    EXPECT_EQ(num_threads(), 1);
    { const SerialSection nested; }
    EXPECT_EQ(num_threads(), 1);
  }
  EXPECT_EQ(num_threads(), 2);
}

// The measured time of a loop, or 0 if none is within so long. Other loops keep threads awake.
double loop_seconds_within(double patience) {
  const Clock::time_point begin = Clock::now();
  double seconds = 0;
  while (seconds == 0 && seconds_since(begin) < patience) {
    parallel_for(max_threads(), [](int64_t) {});
    seconds = loop_seconds();
  }
  return seconds;
}

TEST(Parallel, ALoopTakesTimeOnceThereIsSomebodyToWaitFor) {
  {
    const Threads one(1);
    EXPECT_EQ(loop_seconds(), 0);
  }
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
  const Threads two(2);
  const double seconds = loop_seconds_within(60);
  EXPECT_GT(seconds, 0);
  EXPECT_LT(seconds, 1);
  EXPECT_EQ(loop_seconds(), seconds);  // measured once
}

// Whoever does the part of a thread that does not come has waited for it, which says nothing about
// how far apart cores are.
TEST(Parallel, NoLoopIsMeasuredThatAThreadDoesAlone) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  {
    const Threads none_of_before(1);
    const Threads two(2);
    EXPECT_EQ(loop_seconds_within(0.5), 0);
  }
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(Parallel, LoopsOfSeveralCallersDoNotMix) {
  const Threads two(2);
  const auto count = [] {
    for (int round = 0; round < 2000; ++round) {
      std::vector<int> calls(16);
      parallel_for(16, [&](int64_t i) { ++calls[i]; });
      for (int c : calls) ASSERT_EQ(c, 1);
    }
  };
  std::thread other(count);
  count();
  other.join();
}

}  // namespace
}  // namespace axl
