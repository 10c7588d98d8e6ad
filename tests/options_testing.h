#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "axl/base/rng.h"
#include "axl/model/model.h"
#include "logits_testing.h"

/// Tiny models with each option of the architecture on, filled with random values: what the tests
/// of gradients, of causality and of decoding share.
namespace axl {

struct Option {
  std::string name;
  ModelConfig config;
};
inline std::ostream& operator<<(std::ostream& out, const Option& o) { return out << o.name; }

inline ModelConfig tiny_config() {
  ModelConfig config{.d_model = 8, .n_heads = 2, .d_ff = 12, .n_layers_per_scale = {1}};
  config.max_seq_len = 64;
  return config;
}

/// Each option alone, then all of them together.
inline std::vector<Option> model_options() {
  std::vector<Option> options;
  ModelConfig all = tiny_config();
  const auto add = [&](const std::string& name, const auto& turn_on) {
    ModelConfig config = tiny_config();
    turn_on(config);
    turn_on(all);
    options.push_back({name, config});
  };
  add("ngram", [](ModelConfig& c) { c.ngram = {{2, 3}, 64}; });
  add("recall", [](ModelConfig& c) { c.recall = {{1, 2, 4}, 10}; });
  add("repeats", [](ModelConfig& c) { c.repeats = {2, 5}; });
  add("window", [](ModelConfig& c) { c.attention_window = 3; });
  add("sum", [](ModelConfig& c) { c.fusion = "sum"; });
  add("layers", [](ModelConfig& c) { c.n_layers_per_scale = {1, 3, 2}; });
  add("factors", [](ModelConfig& c) { c.downsample_factors = {1, 4, 16}; });
  options.push_back({"all", all});
  return options;
}

/// Text of three letters that begins with a mark and has one inside: most of what it holds was
/// there before.
inline std::vector<int32_t> repetitive_ids(int64_t n, uint64_t seed) {
  std::vector<int32_t> ids{kBos};
  Rng rng(seed);
  while (static_cast<int64_t>(ids.size()) < n)
    ids.push_back(ids.size() == 20 ? kEos : 'a' + static_cast<int32_t>(rng.below(3)));
  return ids;
}

/// Every parameter random, tables and votes too; a memory of a text much like repetitive_ids.
inline Model random_model(const ModelConfig& config) {
  Model model(config);
  model.init(3);
  Rng rng(7);
  for (const Parameter& p : model.parameters()) {
    const double std = p.role == Role::kVotes ? 0.02 : 0.2;
    for (int64_t i = 0; i < p.size(); ++i)
      model.data()[p.offset + i] += static_cast<float>(std * rng.normal());
  }
  if (!model.recall().empty()) model.recall().observe(repetitive_ids(60, 99), 0);
  return model;
}

}  // namespace axl
