#include "axl/train/memory.h"

#include <algorithm>
#include <sstream>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/parallel.h"
#include "axl/base/text.h"
#include "axl/model/activations.h"
#include "axl/train/learner.h"
#include "axl/train/optimizer.h"
#include "axl/train/table_optimizer.h"
#include "axl/train/teacher.h"

namespace axl {
namespace {

int64_t recall_bytes(const ModelConfig& c) {
  return sizeof(uint32_t) * c.recall.orders.size() << c.recall.bits;
}

int64_t rope_bytes(const ModelConfig& c) { return sizeof(float) * c.max_seq_len * c.head_size(); }

/// One operand of a product is packed whole, as bf16; f32 products, which the library cuts into
/// tiles, take no more than that. The largest one of a step:
int64_t packing_bytes(const ModelConfig& c, int64_t rows) {
  const int64_t weights = c.d_model * std::max(2 * c.d_ff, c.max_factor() * c.d_model);
  const int64_t rows_of_states = rows * std::max(c.d_ff, c.d_model);
  return sizeof(uint16_t) * std::max(weights, rows_of_states);
}

/// A way to train in less memory, and whether `config` does not go it yet.
struct Saving {
  const char* settings;  ///< separated by blanks
  bool (*applies)(const TrainConfig& config);
  void (*apply)(TrainConfig& config);
};

bool keeps_one_moment(const TrainConfig& t) {
  return t.optimizer == "lion" || t.optimizer == "sgd";
}

constexpr Saving kSavings[] = {
    {"train.recompute=true", [](const TrainConfig& t) { return !t.recompute; },
     [](TrainConfig& t) { t.recompute = true; }},
    {"train.update_in_backward=true train.grad_clip=0",
     [](const TrainConfig& t) { return !t.update_in_backward; },
     [](TrainConfig& t) { t.update_in_backward = true, t.grad_clip = 0; }},
    {"train.momentum_dtype=bf16",
     [](const TrainConfig& t) { return keeps_one_moment(t) && t.momentum_dtype != "bf16"; },
     [](TrainConfig& t) { t.momentum_dtype = "bf16"; }},
    {"train.weights_dtype=bf16",
     [](const TrainConfig& t) { return keeps_one_moment(t) && t.weights_dtype != "bf16"; },
     [](TrainConfig& t) { t.weights_dtype = "bf16"; }},
};

}  // namespace

int64_t training_bytes(const ModelConfig& model, const TrainConfig& train) {
  const std::vector<Parameter> table = parameter_table(model);
  const std::span<const Parameter> dense = dense_part(table);
  const bool bf16 = matrices_type(train) == ElementType::kBF16;
  const int64_t halves = bf16 ? bf16_parameter_count(table) : 0;
  const int64_t floats = parameter_count(table) - halves + gradient_floats(model, train);
  // A save makes the tables' bf16 copies.
  const int64_t tables = parameter_count(table) - parameter_count(dense);
  const int64_t rows = train.batch_size * model.max_seq_len;
  return teacher_bytes(model, train) + sizeof(float) * floats + sizeof(uint16_t) * halves +
         optimizer_bytes(train.optimizer, train.momentum_dtype == "bf16", dense) +
         sizeof(uint16_t) * tables + TableOptimizer::required_bytes(table, rows) +
         3 * recall_bytes(model) + rope_bytes(model) +
         Activations::required_bytes(model, rows, activations_mode(train), matrices_type(train));
}

int64_t peak_training_bytes(const ModelConfig& model, const TrainConfig& train) {
  // Measured: what a process has resident that trains a model of next to nothing on one thread,
  // most of it code of the libraries, and what another thread adds.
  constexpr int64_t kProgram = 26'000'000, kThread = 500'000;
  return training_bytes(model, train) + packing_bytes(model, train.batch_size * model.max_seq_len) +
         kProgram + kThread * (max_threads() - 1);
}

std::optional<std::vector<std::string>> settings_that_fit(const Config& config, int64_t available) {
  for (int64_t batch = config.train.batch_size; batch > 0; batch /= 2) {
    TrainConfig train = config.train;
    std::vector<std::string> settings;
    train.batch_size = batch;
    if (batch != config.train.batch_size) settings.push_back(format("train.batch_size={}", batch));
    const auto fits = [&] { return peak_training_bytes(config.model, train) <= available; };
    if (fits()) return settings;
    for (const Saving& saving : kSavings) {
      if (!saving.applies(train)) continue;
      saving.apply(train);
      std::istringstream words(saving.settings);
      for (std::string word; words >> word;) settings.push_back(word);
      if (fits()) return settings;
    }
  }
  return std::nullopt;
}

void require_memory(const Config& config, int64_t available) {
  const std::optional<std::vector<std::string>> settings = settings_that_fit(config, available);
  if (settings && settings->empty()) return;
  std::string advice = "these settings fit:";
  if (!settings)
    advice = "no settings make it fit: take a smaller model, or a larger machine";
  else
    for (const std::string& s : *settings) advice += " --set " + s;
  const int64_t needed = peak_training_bytes(config.model, config.train);
  throw Error(format("training {} takes {} of memory, but {} are free; {}", config.name,
                     human_bytes(double(needed)), human_bytes(double(available)), advice));
}

int64_t inference_bytes(const ModelConfig& model) {
  Arena cache;
  Cache(cache, Weights(model), model.n_heads, 1, model.max_seq_len);
  return sizeof(float) * parameter_count(parameter_table(model)) + rope_bytes(model) +
         recall_bytes(model) + cache.used() +
         Activations::required_bytes(model, std::min(kPrefillRows, model.max_seq_len),
                                     Activations::Mode::kInference);
}

}  // namespace axl
