#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "axl/formats/gguf.h"
#include "axl/model/model.h"
#include "axl/model/quantized.h"

/// The fine head of a model, output(out_norm(h₁ before the cross-scale layers)), as a GGUF file of
/// architecture "llama", which llama.cpp and what is built on it run. RoPE turns interleaved pairs
/// there as here, so weights go over as they are. Tokens 0 to 255 are the bytes, spelt as GPT-2
/// spells them, 256 begins and 257 ends a text; with no merges every text is its bytes.
namespace axl {

/// What the matrices are coded as, by llama.cpp's names.
enum class LlamaType { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_K_M, kQ5_K_M, kQ6_K };
inline constexpr std::string_view kLlamaTypes[] = {"f32",  "f16",    "bf16",   "q8_0",
                                                   "q4_0", "q4_k_m", "q5_k_m", "q6_k"};

/// Why llama.cpp cannot compute the fine head of such a model; empty where it can.
std::string llama_obstacle(const ModelConfig& config);

/// The layer of a parameter of the fine stack, "stack.1.<layer>.…"; -1 of any other.
int64_t fine_layer(const std::string& parameter);

/// The model that the fine head is: the same with the fine scale alone.
ModelConfig fine_config(const ModelConfig& config);

/// Writes the file, whole or not at all, with the types that llama.cpp's quantiser would choose;
/// wherever one stands in for another, the report says so. Throws Error; for a model with an
/// obstacle, a quantised one, and values that a type cannot hold, too.
/// Where `whole_model` is given, bytes that save_quantized() wrote, the file carries them too.
QuantizedReport save_llama(const Model& model, LlamaType type, const std::filesystem::path& path,
                           const std::string& name, const std::vector<uint8_t>& whole_model = {});

/// The model in such a file, which has one scale, its weights decoded to f32. Throws Error where
/// the file is damaged or another kind of llama.
Model load_llama(const GgufFile& file);
/// Its configuration alone.
ModelConfig llama_config(const GgufFile& file);

}  // namespace axl
