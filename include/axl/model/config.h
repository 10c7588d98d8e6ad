#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "axl/base/fields.h"
#include "axl/base/tokens.h"

namespace axl {

/// Embeddings of the last n bytes, from hashed tables (model/lookup.h): none without orders.
struct NgramConfig {
  std::vector<int64_t> orders;  ///< n
  int64_t rows = 32768;         ///< of each order's table
  bool operator==(const NgramConfig&) const = default;
};

/// Memory of what followed in the training files (model/recall.h): none without orders.
struct RecallConfig {
  std::vector<int64_t> orders;  ///< context lengths in bytes
  int64_t bits = 22;            ///< at most 2^bits slots of 4 bytes for each order
  bool operator==(const RecallConfig&) const = default;
};

/// Dimensions of a model. Everything else about it follows from these.
struct ModelConfig {
  int64_t d_model = 256;  ///< D, width of every token
  int64_t n_heads = 4;    ///< H; head size is d_model / n_heads, an even number
  int64_t d_ff = 688;     ///< F, width inside SwiGLU
  std::vector<int64_t> n_layers_per_scale = {3};        ///< L of every scale, or one for each
  int64_t n_cross_attn_layers = 1;                      ///< C
  std::vector<int64_t> downsample_factors = {1, 2, 4};  ///< ascending, begins with 1
  int64_t max_seq_len = 256;                            ///< N, context in bytes
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  int64_t attention_window = 0;  ///< tokens that a token sees of each scale; 0: all
  std::string fusion = "gate";   ///< how the scales' views become one: gate or sum

  NgramConfig ngram{};
  /// Lengths of repeats within the context that the model is told about; none without lengths.
  std::vector<int64_t> repeats{};
  RecallConfig recall{};

  /// Whether it was trained to fill a gap between a prefix and a suffix. In model files, but no key
  /// under `model:`: it follows from train.fim_rate.
  bool fill_in_middle = false;

  /// The keys under `model:` of a configuration file.
  Fields fields();
  /// Throws UsageError when the values do not fit each other.
  void validate() const;

  int64_t head_size() const { return d_model / n_heads; }
  int64_t n_scales() const { return static_cast<int64_t>(downsample_factors.size()); }
  int64_t max_factor() const { return downsample_factors.back(); }
  int64_t layers(int64_t scale) const {
    return n_layers_per_scale.size() == 1 ? n_layers_per_scale[0] : n_layers_per_scale[scale];
  }
  int64_t max_layers() const {
    return *std::max_element(n_layers_per_scale.begin(), n_layers_per_scale.end());
  }

  bool operator==(const ModelConfig&) const = default;
};

/// The configuration as JSON with the keys of the PyTorch definition (vocab_size included), as
/// model files carry it under "axl_config".
std::string to_json(const ModelConfig& config);
/// The reverse. Throws Error beginning with `where` for anything that to_json would not write.
ModelConfig model_config_from_json(const std::string& json, const std::string& where);

}  // namespace axl
