#pragma once

#include <filesystem>
#include <string>

namespace axl {

/// The .safetensors file of the model a command works on: `option` (--model) if not empty, else
/// $AXL_MODEL, else checkpoints/latest. Throws Error that says where it looked and how to get a
/// model.
std::filesystem::path resolve_model(const std::string& option);

/// The .safetensors file that `path` means: a file itself, or a directory's model.safetensors.
/// Throws Error beginning with `source`, which says where the path came from.
std::filesystem::path model_file(const std::filesystem::path& path, const std::string& source);

}  // namespace axl
