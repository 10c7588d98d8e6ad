#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "axl/formats/safetensors.h"
#include "axl/model/model.h"

namespace axl {

/// Name of the weights' file inside a model directory.
inline constexpr const char* kModelFile = "model.safetensors";

/// Writes `dir`/model.safetensors: f32 tensors under the names of the PyTorch definition, metadata
/// "format": "pt", "axl_config" and `extra`. Whole or not at all. Throws Error.
void save_model(const Model& model, const std::filesystem::path& dir,
                const std::map<std::string, std::string>& extra = {});

/// Writes the same file by itself, its parameters as `type`: F32 or BF16.
void write_model(const Model& model, const std::filesystem::path& path, DType type,
                 const std::map<std::string, std::string>& extra = {});

/// The name of the tensor of a recall memory's slots for one order.
std::string recall_tensor(int64_t order);

/// The configuration of a model that load_model() reads. Throws Error.
ModelConfig load_model_config(const std::filesystem::path& path);

/// Reads a model directory, a .safetensors file (f32 or bf16) or a .gguf file that axl wrote
/// (model/gguf_model.h). Throws Error for anything that is not a complete, finite model with a
/// valid configuration: wrong shapes, missing or surplus tensors, NaN, a checksum that does not
/// match.
Model load_model(const std::filesystem::path& path);
/// Reads a .safetensors file that need not carry its configuration, as PyTorch writes a state_dict.
Model load_model(const std::filesystem::path& path, const ModelConfig& config);

}  // namespace axl
