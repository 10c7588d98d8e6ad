#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>

#include "axl/base/file.h"
#include "axl/infer/session.h"
#include "axl/train/memory.h"
#include "train_testing.h"

namespace {

// What this program's own code takes from the heap in pieces of a page or more, while counting.
std::atomic<bool> counting{false};
std::atomic<int64_t> large_allocations{0};
constexpr size_t kLarge = 4096;

void* count_and_take(size_t bytes, size_t alignment = 1) noexcept {
  if (bytes >= kLarge && counting) ++large_allocations;
  const size_t whole = (bytes + alignment - 1) / alignment * alignment;
  return alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, whole)
                                               : std::malloc(bytes ? bytes : 1);
}

void* allocate(size_t bytes, size_t alignment) {
  void* memory = count_and_take(bytes, alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return allocate(bytes, 1); }
void* operator new[](size_t bytes) { return allocate(bytes, 1); }
void* operator new(size_t bytes, std::align_val_t a) { return allocate(bytes, size_t(a)); }
void* operator new[](size_t bytes, std::align_val_t a) { return allocate(bytes, size_t(a)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return count_and_take(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return count_and_take(bytes); }
// All of these belong together; GCC cannot see that they do.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace axl {
namespace {

/// A figure of /proc/self/status, in bytes.
int64_t status_bytes(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  ADD_FAILURE() << "no " << key;
  return 0;
}

/// Lets the peak begin anew; returns what is in use already.
int64_t start_of_peak() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  return status_bytes("VmRSS");
}

constexpr bool kSanitized =
#ifdef AXL_SANITIZED
    true;
#else
    false;
#endif

Config mid_config(const std::string& optimizer) {
  Config config = tiny_config(optimizer);
  config.model.d_model = 128;
  config.model.d_ff = 344;
  config.model.n_layers_per_scale = {2};
  config.model.max_seq_len = 128;
  config.train.batch_size = 8;
  return config;
}

/// The same with tables and memories that are a good part of it.
Config mid_memory_config() {
  Config config = mid_config("lion");
  config.model.ngram = {.orders = {2, 3}, .rows = 8192};
  config.model.recall = {.orders = {2, 4}, .bits = 20};
  config.model.repeats = {3};
  return config;
}

/// Documents of every pair of bytes, which leave no page of a memory untouched.
Corpus diverse_corpus(const TempDir& dir) {
  return corpus_of_documents(dir, {unique_text(1 << 20, 1), unique_text(1 << 20, 2)});
}

// Proves that after its first steps a step takes no piece of 4 KiB or more from operator new and
// maps no memory that it keeps. Small temporaries (one window of tokens, names of files) and the
// packing buffers of the product library, which come from malloc, are not counted.
TEST(TrainMemory, AStepAllocatesNothing) {
  for (const std::string optimizer :
       {"lion", "adamw", "sgd", "muon", "lion and tables", "lion in little memory"}) {
    const TempDir dir;
    const bool plain = optimizer != "lion and tables";
    const Corpus corpus = plain ? corpus_of(dir, "a.py", sample_text(400)) : diverse_corpus(dir);
    Config config = plain ? mid_config(optimizer) : mid_memory_config();
    if (optimizer == "lion in little memory") {
      config.train.optimizer = "lion";
      config.train.recompute = config.train.update_in_backward = true;
      config.train.grad_clip = 0;
      config.train.momentum_dtype = config.train.weights_dtype = "bf16";
    }
    config.train.steps = 5;
    Trainer trainer(config, corpus, nullptr);
    int64_t mapped_early = 0, mapped_late = 0;
    TrainCallbacks call;
    call.on_step = [&](const StepReport& r) {
      if (r.step == 3) {
        mapped_early = status_bytes("VmSize");
        large_allocations = 0;
        counting = true;
      }
      if (r.step == 5) {
        counting = false;
        mapped_late = status_bytes("VmSize");
      }
    };
    trainer.run(run_dir(dir, "out"), call);
    EXPECT_EQ(large_allocations, 0) << optimizer;
    // A sanitizer maps memory of its own.
    if (!kSanitized) {
      EXPECT_EQ(mapped_late, mapped_early) << optimizer;
    }
  }
}

TEST(TrainMemory, LargeAllocationsWouldBeSeen) {
  large_allocations = 0;
  counting = true;
  std::vector<char> large(kLarge);
  counting = false;
  EXPECT_EQ(large_allocations, 1);
  EXPECT_EQ(large[17], 0);
}

TEST(TrainMemory, IsWhatWasAnnounced) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory hides the program's";
  for (const char* optimizer : {"lion", "adamw", "muon"}) {
    const TempDir dir;
    const Corpus corpus = corpus_of(dir, "a.py", sample_text(400));
    const Config config = mid_config(optimizer);
    {  // what libraries set up once belongs to no run
      Trainer first(tiny_config(optimizer), corpus, nullptr);
      first.run(run_dir(dir, "first"), {});
    }
    const int64_t before = start_of_peak();
    Trainer trainer(config, corpus, nullptr);
    trainer.run(run_dir(dir, "out"), {});
    const double taken = double(status_bytes("VmHWM") - before);
    const double announced = double(training_bytes(config.model, config.train));
    EXPECT_GT(announced, 30e6) << "too small to be measured";
    EXPECT_NEAR(taken / announced, 1.0, 0.1) << optimizer << ": " << taken << " of " << announced;
  }
}

TEST(TrainMemory, WithTablesAndMemoriesIsWhatWasAnnounced) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory hides the program's";
  const TempDir dir;
  const Corpus corpus = diverse_corpus(dir);
  const Config config = mid_memory_config();
  {
    const TempDir other;
    const Corpus small = corpus_of(other, "a.py", sample_text(40));
    Trainer(tiny_config(), small, nullptr).run(run_dir(other, "first"), {});
  }
  const int64_t before = start_of_peak();
  Trainer trainer(config, corpus, nullptr);
  trainer.run(run_dir(dir, "out"), {});
  const double taken = double(status_bytes("VmHWM") - before);
  const double announced = double(training_bytes(config.model, config.train));
  EXPECT_GT(announced, training_bytes(mid_config("lion").model, config.train) + 60e6);
  EXPECT_NEAR(taken / announced, 1.0, 0.1) << taken << " of " << announced;
}

TEST(TrainMemory, WithEveryMeansOfSavingIsWhatWasAnnounced) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory hides the program's";
  const TempDir dir;
  const Corpus corpus = corpus_of(dir, "a.py", sample_text(400));
  Config config = mid_config("lion");
  config.model.d_model = 256;
  config.model.d_ff = 688;
  config.train.recompute = config.train.update_in_backward = true;
  config.train.grad_clip = 0;
  config.train.momentum_dtype = config.train.weights_dtype = "bf16";
  Trainer(tiny_config(), corpus, nullptr).train({});  // what libraries set up once
  const int64_t before = start_of_peak();
  Trainer trainer(config, corpus, nullptr);
  trainer.run(run_dir(dir, "out"), {});
  const double taken = double(status_bytes("VmHWM") - before);
  const double announced = double(training_bytes(config.model, config.train));
  EXPECT_GT(announced, 30e6) << "too small to be measured";
  EXPECT_NEAR(taken / announced, 1.0, 0.1) << taken << " of " << announced;
}

TEST(TrainMemory, OfGeneratingIsWhatWasAnnounced) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory hides the program's";
  const ModelConfig config = mid_memory_config().model;
  const std::vector<int32_t> tokens(config.max_seq_len, 'x');
  {  // what libraries set up once, when they multiply more than a few rows
    ModelConfig tiny = tiny_config().model;
    tiny.max_seq_len = config.max_seq_len;
    Model model(tiny);
    Session(model).append(tokens);
  }
  const int64_t before = start_of_peak();
  Model model(config);
  model.init(1);
  std::memset(model.recall().data(0), 1, sizeof(uint32_t) * 2 * model.recall().slots());
  Session session(model);
  session.append(tokens);
  const double taken = double(status_bytes("VmHWM") - before);
  EXPECT_NEAR(taken / inference_bytes(config), 1.0, 0.1) << taken;
}

}  // namespace
}  // namespace axl
