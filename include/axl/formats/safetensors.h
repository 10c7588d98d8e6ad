#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/file.h"

namespace axl {

/// The element types of the format, but for those of less than a byte. axl itself writes F32, BF16,
/// U32, I64 and U8; the others are here so that files of other programs open.
enum class DType {
  kF32,
  kBF16,
  kI64,
  kU8,
  kBool,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kI32,
  kU32,
  kF64,
  kU64,
  kC64
};
size_t dtype_bytes(DType type);
/// The name in files: "BF16".
std::string_view dtype_name(DType type);

/// A tensor in memory that is to be written. Data is row-major, contiguous, little-endian.
struct TensorSource {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  const void* data;
};

/// Writes https://github.com/huggingface/safetensors format: u64 header length, JSON, raw data.
/// Data lies in order of falling element size, else as given, so that every tensor is aligned.
/// Adds to the metadata "axl_checksum": 16 hex digits, the XXH3 of the whole file with those digits
/// written as zeros. The file appears whole or not at all. Throws Error.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                       const std::map<std::string, std::string>& metadata);

/// A safetensors file, memory-mapped and verified when it is opened: header, dtypes, shapes against
/// sizes, ranges inside the file that neither overlap nor leave holes, and the checksum where there
/// is one (files by other writers carry none). Throws Error saying what is wrong and where.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::string_view bytes;
    int64_t elements() const;
  };
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has_checksum() const { return !checksum_.empty(); }
  /// 16 hex digits; empty when the file carries none.
  const std::string& checksum() const { return checksum_; }
  /// Throws Error naming the file when there is no such tensor.
  const Tensor& tensor(const std::string& name) const;
  /// Copies a tensor of exactly `shape` (f32, or bf16 widened) to `out`. Throws Error for a missing
  /// tensor, another shape or dtype, or a value that is not finite.
  void read_floats(const std::string& name, const std::vector<int64_t>& shape, float* out) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::string checksum_;
};

}  // namespace axl
