#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "axl/base/file.h"
#include "axl/tensor/packed.h"

namespace axl {

template <class... T>
using ScalarOrArray = std::variant<T..., std::vector<T>...>;
/// Any value that metadata may have, of exactly the type in the file: readers of GGUF tell a u32
/// from an i32. Arrays of arrays are refused.
using GgufValue = ScalarOrArray<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                                std::string, uint64_t, int64_t, double>;
/// Keys and values in the order of the file.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// A tensor that is to be written. `fill` puts its bytes, coded as `type`, into the buffer given;
/// it is called once. Whole blocks make up the last dimension: pad it first.
struct GgufTensorSource {
  std::string name;  ///< at most 63 bytes, as ggml wants it
  ElementType type;
  std::vector<int64_t> shape;  ///< row-major, the fastest dimension last; at most four
  std::function<void(std::byte* out)> fill;

  int64_t bytes() const;
};

/// Writes https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3, little-endian, in
/// the order given, tensors on multiples of 32 bytes without other gaps. Takes the memory of the
/// largest tensor beside the sources. Adds to the metadata "axl.checksum": 16 hex digits, the XXH3
/// of the whole file with those digits as zeros, as the last key; where another follows, as in what
/// llama.cpp's quantiser makes of the file, the digits are those of the file before and mean
/// nothing. Leaves "general.alignment" out. The file appears whole or not at all. Throws Error.
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                std::span<const GgufTensorSource> tensors);

/// A GGUF file of version 3, memory-mapped. Opening it reads and checks all but the data: counts,
/// types, names, shapes, and that the tensors fill the rest of the file in their order. Throws
/// Error saying what is wrong and where. Takes memory in proportion to the header.
class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);
  /// The same of bytes in memory, which `owner` keeps; `path` is what messages call them.
  GgufFile(const std::filesystem::path& path, std::string_view bytes,
           std::shared_ptr<const void> owner);

  struct Tensor {
    ElementType type;
    std::vector<int64_t> shape;  ///< row-major: the reverse of the file's order
    std::span<const std::byte> bytes;
  };
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  /// Throws Error naming the file when there is no such tensor.
  const Tensor& tensor(const std::string& name) const;

  const GgufMetadata& metadata() const { return metadata_; }
  /// The value of a key, nullptr where there is none. Throws Error where it is no T.
  template <class T>
  const T* find(std::string_view key) const {
    const GgufValue* value = find_value(key);
    if (!value) return nullptr;
    if (!std::holds_alternative<T>(*value)) refuse_type(key, *value, GgufValue(T()));
    return &std::get<T>(*value);
  }
  /// The same, where a missing key is an Error too.
  template <class T>
  const T& get(std::string_view key) const {
    const T* value = find<T>(key);
    if (!value) refuse_missing(key);
    return *value;
  }

  /// Whether axl wrote the file, that is.
  bool has_checksum() const { return checksum_at_ != 0; }
  /// Reads the whole file. Throws Error where its checksum is another than it declares; a file that
  /// declares none passes.
  void verify_checksum() const;
  const std::filesystem::path& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }  ///< all of it
  /// See MappedFile; nothing happens to bytes in memory.
  void forget_pages() const;

 private:
  GgufFile(const std::filesystem::path& path, std::shared_ptr<const MappedFile> mapped);
  const GgufValue* find_value(std::string_view key) const;
  [[noreturn]] void refuse_missing(std::string_view key) const;
  [[noreturn]] void refuse_type(std::string_view key, const GgufValue& value,
                                const GgufValue& wanted) const;

  std::filesystem::path path_;
  std::shared_ptr<const void> owner_;
  const MappedFile* mapped_ = nullptr;  ///< the owner, where it is a file mapped for this object
  std::string_view bytes_;
  GgufMetadata metadata_;
  std::map<std::string, Tensor> tensors_;
  size_t checksum_at_ = 0;  ///< where its digits stand in the file; 0 when it has none of its own
};

}  // namespace axl
