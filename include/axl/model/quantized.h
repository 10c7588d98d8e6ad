#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "axl/formats/gguf.h"
#include "axl/model/model.h"
#include "axl/tensor/packed.h"

/// A whole model in one GGUF file of architecture "axl": its configuration as JSON under
/// "axl.config", every parameter under its own name, matrices in few bits. Weights stay coded
/// in memory. Rows are padded to whole blocks.
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
  ElementType wanted;  ///< by the mixture; its rows do not fit where the type is another
  int64_t elements, bytes;

  bool fallback() const { return type != wanted; }
};
struct QuantizedReport {
  std::vector<QuantizedTensor> tensors;
  /// Bits of the file per parameter, of the tensors that are parameters (not recall's slots).
  double bits_per_weight() const;
};

/// Writes the file, whole or not at all. Throws Error; for a model that is quantised already too.
QuantizedReport save_quantized(const Model& model, QuantizedType type,
                               const std::filesystem::path& path, const std::string& name);

/// The model in such a file, which it keeps. Throws Error where it is damaged or not
/// complete.
Model load_quantized(std::shared_ptr<const GgufFile> file);
/// The same model with its weights decoded to f32, in memory of its own.
Model decoded(const Model& model);
/// Its configuration alone.
ModelConfig quantized_config(const GgufFile& file);

}  // namespace axl
