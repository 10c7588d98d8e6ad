#pragma once

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/base/rng.h"
#include "axl/data/corpus.h"
#include "axl/model/model.h"
#include "axl/train/trainer.h"
#include "temp_dir.h"

/// What the tests of training share.
namespace axl {

/// Models this small are not worth sharing between threads.
inline const bool kOnOneThread = (set_num_threads(1), true);

/// A model of some ten thousand parameters and a run of a few steps, saved at the end alone.
inline Config tiny_config(const std::string& optimizer = "lion") {
  Config c;
  c.name = "tiny";
  c.model = {.d_model = 16,
             .n_heads = 2,
             .d_ff = 24,
             .n_layers_per_scale = {1},
             .n_cross_attn_layers = 1,
             .downsample_factors = {1, 2, 4},
             .max_seq_len = 32};
  c.train.optimizer = optimizer;
  c.train.lr = optimizer == "sgd" ? 0.05 : 2e-3;
  c.train.batch_size = 2;
  c.train.warmup_steps = 2;
  c.train.steps = 8;
  c.train.eval_every = 0;
  c.train.checkpoint_every = 0;
  c.train.holdout = 0;
  c.train.seed = 7;
  return c;
}

/// Text with something to learn in it.
inline std::string sample_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i)
    text += "def f" + std::to_string(i % 7) + "(x):\n    return x + " + std::to_string(i) + "\n";
  return text;
}

/// Writes one file into `dir` and indexes it.
inline Corpus corpus_of(const TempDir& dir, const std::string& name, std::string_view text) {
  put(dir / name, text);
  const std::vector<std::string> paths{(dir / name).string()}, suffixes{".py"};
  return Corpus(find_corpus_files(paths, suffixes));
}

/// The same with a model that reads tables of every kind.
inline Config memory_config(const std::string& optimizer = "lion") {
  Config c = tiny_config(optimizer);
  c.model.ngram = {.orders = {2, 3}, .rows = 64};
  c.model.recall = {.orders = {2, 4}, .bits = 10};
  c.model.repeats = {3};
  return c;
}

/// Writes each text into a file of its own and indexes them in this order.
inline Corpus corpus_of_documents(const TempDir& dir, const std::vector<std::string>& texts) {
  const std::string base = dir / "documents";
  std::filesystem::create_directories(base);
  for (size_t i = 0; i < texts.size(); ++i)
    put(base + "/" + std::to_string(10000 + i) + ".py", texts[i]);
  const std::vector<std::string> paths{base}, suffixes{".py"};
  return Corpus(find_corpus_files(paths, suffixes));
}

/// Text that, beyond a few bytes, occurs nowhere else.
inline std::string unique_text(int64_t size, uint64_t seed) {
  Rng rng(seed);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(rng.below(256));
  return text;
}

/// An empty directory for a run.
inline std::filesystem::path run_dir(const TempDir& dir, const std::string& name) {
  std::filesystem::create_directories(dir / name);
  return dir / name;
}

inline bool same_weights(const Model& a, const Model& b) {
  return a.parameter_count() == b.parameter_count() &&
         std::memcmp(a.data(), b.data(), sizeof(float) * a.parameter_count()) == 0;
}

/// Stops a run when it has done `steps` steps.
inline TrainCallbacks stop_after(const Trainer& trainer, int64_t steps) {
  TrainCallbacks call;
  call.should_stop = [&trainer, steps] { return trainer.step() >= steps; };
  return call;
}

}  // namespace axl
