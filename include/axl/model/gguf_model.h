#pragma once

#include <filesystem>

#include "axl/model/model.h"

namespace axl {

/// Under this key a llama file may carry a whole model, as an array of the bytes of the file that
/// save_quantized() writes: llama.cpp and what rewrites its files let it be.
inline constexpr const char* kWholeModelKey = "axl.model";

/// Whether the file begins as a GGUF file does.
bool is_gguf(const std::filesystem::path& path);
/// The model in a GGUF file that axl wrote: a whole one (model/quantized.h), the one that a llama
/// file carries, or else the fine head in that (model/llama_gguf.h). Throws Error where it is
/// damaged, or another program's.
Model load_gguf_model(const std::filesystem::path& path);
/// Its configuration alone.
ModelConfig gguf_model_config(const std::filesystem::path& path);

}  // namespace axl
