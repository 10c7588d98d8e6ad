#include "axl/model/gguf_model.h"

#include <cstring>
#include <fstream>
#include <memory>

#include "axl/base/format.h"
#include "axl/model/llama_gguf.h"
#include "axl/model/quantized.h"
#include "axl/tensor/arena.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// The file of the whole model that `file` carries, or `file` itself.
std::shared_ptr<const GgufFile> best_model_in(std::shared_ptr<const GgufFile> file) {
  const auto* carried = file->find<std::vector<uint8_t>>(kWholeModelKey);
  if (!carried) return file;
  // Tensors want more alignment than an array has, and the rest of the file is of no more use.
  const auto copy = std::make_shared<Buffer>(carried->size());
  std::memcpy(copy->data(), carried->data(), carried->size());
  return std::make_shared<const GgufFile>(
      format("{} ({})", file->path().string(), kWholeModelKey),
      std::string_view(static_cast<const char*>(copy->data()), carried->size()), copy);
}

enum class Kind { kWhole, kLlama };

Kind kind_of(const GgufFile& file) {
  const std::string* architecture = file.find<std::string>("general.architecture");
  if (architecture && *architecture == "axl") return Kind::kWhole;
  if (architecture && *architecture == "llama") return Kind::kLlama;
  throw Error(
      format("{}: a GGUF file of architecture '{}'; axl runs only those that `axl quantize` and "
             "`axl export-gguf` write",
             file.path().string(), architecture ? *architecture : "(none)"));
}

}  // namespace

bool is_gguf(const fs::path& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::string_view(magic, sizeof(magic)) == "GGUF";
}

Model load_gguf_model(const fs::path& path) {
  const auto file = std::make_shared<const GgufFile>(path), best = best_model_in(file);
  if (kind_of(*best) == Kind::kLlama) return load_llama(*best);
  return load_quantized(best);
}

ModelConfig gguf_model_config(const fs::path& path) {
  const auto file = best_model_in(std::make_shared<const GgufFile>(path));
  return kind_of(*file) == Kind::kWhole ? quantized_config(*file) : llama_config(*file);
}

}  // namespace axl
