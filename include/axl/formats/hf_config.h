#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace axl {

/// What `config.json` says of a model of Hugging Face transformers' class LlamaForCausalLM, as far
/// as it concerns a byte model.
struct HfLlamaConfig {
  int64_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0, num_attention_heads = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0, rope_theta = 0;
};

/// Writes config.json, generation_config.json, tokenizer.json and tokenizer_config.json: the model,
/// and a tokenizer that makes any text BOS and its bytes. Each file whole or not at all. Throws
/// Error.
void write_hf_files(const std::filesystem::path& dir, const HfLlamaConfig& config);

/// Reads config.json. Throws Error where it is no byte model of this class: another vocabulary,
/// shared keys, biases, scaled positions, another activation.
HfLlamaConfig read_hf_config(const std::filesystem::path& dir);

}  // namespace axl
