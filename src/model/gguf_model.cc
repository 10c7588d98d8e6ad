#include "axl/model/gguf_model.h"

#include <cstring>
#include <fstream>
#include <memory>

#include "axl/base/format.h"
#include "axl/base/parallel.h"
#include "axl/model/llama_gguf.h"
#include "axl/model/quantized.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// A GGUF file's bytes copied into memory of huge pages: each byte that is generated walks through
/// all weights, and small pages keep the CPU looking up addresses (axl_300m in q8_0 on Zen 4: one
/// thread takes 10.4 ms a byte from the mapped file and 8.6 from a copy, two 7.1 and 6.3; the copy
/// takes some 0.1 s to make).
std::shared_ptr<const GgufFile> in_huge_pages(const fs::path& name, std::string_view bytes) {
  constexpr size_t kChunk = size_t{4} << 20;
  const auto copy = std::make_shared<Buffer>(bytes.size());
  auto* to = static_cast<char*>(copy->data());
  parallel_for((bytes.size() + kChunk - 1) / kChunk, [&](int64_t i) {
    const std::string_view chunk = bytes.substr(i * kChunk, kChunk);
    std::memcpy(to + i * kChunk, chunk.data(), chunk.size());
  });
  return std::make_shared<const GgufFile>(name, std::string_view(to, bytes.size()), copy);
}

/// The file of the whole model that `file` carries, or `file` itself.
std::shared_ptr<const GgufFile> best_model_in(std::shared_ptr<const GgufFile> file) {
  const auto* carried = file->find<std::vector<uint8_t>>(kWholeModelKey);
  if (!carried) return file;
  // Tensors want more alignment than an array has, and the rest of the file is of no more use.
  return in_huge_pages(format("{} ({})", file->path().string(), kWholeModelKey),
                       {reinterpret_cast<const char*>(carried->data()), carried->size()});
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
  return load_quantized(best == file ? in_huge_pages(path, file->bytes()) : best);
}

ModelConfig gguf_model_config(const fs::path& path) {
  const auto file = best_model_in(std::make_shared<const GgufFile>(path));
  return kind_of(*file) == Kind::kWhole ? quantized_config(*file) : llama_config(*file);
}

}  // namespace axl
