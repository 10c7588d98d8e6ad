#pragma once

#include <filesystem>

#include "axl/formats/safetensors.h"
#include "axl/model/model.h"

/// The fine head of a model as a directory that Hugging Face transformers loads as
/// LlamaForCausalLM: config.json, model.safetensors, a tokenizer.
///
/// RoPE turns the pairs (x[2i], x[2i+1]) of each head here and (x[i], x[i + head/2]) there, so the
/// rows of W_q and W_k change places within each head: row 2i becomes i, row 2i + 1 becomes
/// i + head/2. Scores, products of a query and a key, do not see it.
namespace axl {

/// Writes the directory's files, `type` F32 or BF16. Throws Error; for a model with an obstacle
/// (see model/llama_gguf.h), too.
void save_hf_llama(const Model& model, DType type, const std::filesystem::path& dir);

/// Whether the directory holds a config.json beside its model.safetensors.
bool is_hf_model(const std::filesystem::path& dir);
/// Reads such a directory, as written here or by transformers, as a model of one scale. Throws
/// Error where it is no byte model of plain layers.
Model load_hf_llama(const std::filesystem::path& dir);

}  // namespace axl
