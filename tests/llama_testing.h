#pragma once

#include <cmath>

#include "axl/base/rng.h"
#include "axl/model/model.h"

namespace axl {

/// Random weights under which every layer matters and the predictions are far from even, unlike
/// those that training begins with.
inline Model lively_model(const ModelConfig& config, uint64_t seed = 1) {
  Model model(config);
  Rng rng(seed);
  for (const Parameter& p : model.parameters()) {
    const double std = p.role == Role::kGain        ? 0.2
                       : p.role == Role::kEmbedding ? 1
                       : p.role == Role::kOutput    ? 2 / std::sqrt(p.cols)
                                                    : 1 / std::sqrt(p.cols);
    for (int64_t i = 0; i < p.size(); ++i)
      model.data()[p.offset + i] =
          static_cast<float>(std * rng.normal() + (p.role == Role::kGain ? 1 : 0));
  }
  return model;
}

/// Rows of 256 and its multiples, and enough layers for both types of a mixture.
inline ModelConfig divisible_config() {
  ModelConfig c{.d_model = 256, .n_heads = 4, .d_ff = 512, .n_layers_per_scale = {4}};
  c.downsample_factors = {1};
  c.max_seq_len = 256;
  return c;
}

/// Rows of 224, no multiple of 256, and 688, none of 32; three scales, of which one is exported.
inline ModelConfig awkward_config() {
  ModelConfig c{.d_model = 224, .n_heads = 4, .d_ff = 688, .n_layers_per_scale = {2}};
  c.max_seq_len = 256;
  return c;
}

}  // namespace axl
