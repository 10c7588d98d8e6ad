#include "cli/model_path.h"

#include <cstdlib>

#include "axl/base/error.h"
#include "axl/base/format.h"

namespace axl {
namespace fs = std::filesystem;
namespace {
constexpr const char* kLatest = "checkpoints/latest";
}

fs::path model_file(const fs::path& path, const std::string& source) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return path;
  if (!fs::is_directory(path, ignored)) {
    throw Error(
        format("{}: there is no '{}'; expected the directory of a model or a .safetensors "
               "or .gguf file",
               source, path.string()));
  }
  const fs::path file = path / "model.safetensors";
  if (fs::is_regular_file(file, ignored)) return file;
  throw Error(format("{}: the directory '{}' holds no model.safetensors", source, path.string()));
}

fs::path resolve_model(const std::string& option) {
  if (!option.empty()) return model_file(option, "--model");
  const char* variable = std::getenv("AXL_MODEL");
  if (variable && *variable) return model_file(variable, "$AXL_MODEL");
  std::error_code ignored;
  if (fs::exists(kLatest, ignored)) return model_file(kLatest, "the default model");
  throw Error(
      format("no model: --model and $AXL_MODEL are not given and there is no {}; train one "
             "with 'axl train --config axl_micro' or give --model DIR",
             kLatest));
}

}  // namespace axl
