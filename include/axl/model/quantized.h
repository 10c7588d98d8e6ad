#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "axl/model/model.h"
#include "axl/tensor/packed.h"

/// A whole model in one GGUF file of architecture "axl": its configuration as JSON under
/// "axl.config", every parameter under its own name, matrices in few bits. The file is mapped when
/// it is loaded and stays coded in memory. Rows are padded to whole blocks.
namespace axl {

/// What the matrices of a file are coded as, by the names that llama.cpp gives such mixtures.
/// q4_k_m: Q4_K, but Q6_K for the output and for the values and down-projections of some layers,
/// which suffer most. Where padding a row to 256 would make it larger than Q8_0, it is that.
enum class QuantizedType { kBF16, kQ8_0, kQ4_K_M };
inline constexpr std::string_view kQuantizedTypes[] = {"bf16", "q8_0", "q4_k_m"};

/// How one tensor was written.
struct QuantizedTensor {
  std::string name;
  ElementType type;
  int64_t elements, bytes;
  bool fallback;  ///< not what the mixture wants: its rows are too short
};
struct QuantizedReport {
  std::vector<QuantizedTensor> tensors;
  /// Bits of the file per parameter, of the tensors that are parameters (not recall's slots).
  double bits_per_weight() const;
};

/// Writes the file, whole or not at all. Throws Error; for a model that is quantised already too.
QuantizedReport save_quantized(const Model& model, QuantizedType type,
                               const std::filesystem::path& path, const std::string& name);

/// Whether the file begins as a GGUF file does.
bool is_gguf(const std::filesystem::path& path);
/// Maps such a file. Throws Error where it is damaged, of another architecture, or not complete.
Model load_quantized(const std::filesystem::path& path);
/// Its configuration alone.
ModelConfig quantized_model_config(const std::filesystem::path& path);

}  // namespace axl
