#include <set>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/formats/gguf.h"
#include "gguf_layout.h"
#include "untrusted.h"

namespace axl {
namespace {

/// The bytes before the data.
class Header {
 public:
  template <class T>
  void put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put(std::string_view text) {
    put<uint64_t>(text.size());
    text_ += text;
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  void put_raw(std::string_view text) { text_ += text; }
  void put(const GgufValue& value) {
    std::visit([&](const auto& v) { put_typed(v, value.index()); }, value);
  }
  std::string& text() { return text_; }

 private:
  template <class T>
  void put_typed(const T& value, size_t place) {
    put(gguf::scalar_number(place));
    put(value);
  }
  template <class T>
  void put_typed(const std::vector<T>& values, size_t place) {
    put(gguf::kArrayType);
    put(gguf::scalar_number(place - gguf::kScalarTypes));
    put<uint64_t>(values.size());
    for (const T& value : values) put(value);
  }

  std::string text_;
};

void check_names(const GgufMetadata& metadata, std::span<const GgufTensorSource> tensors) {
  std::set<std::string_view> keys, names;
  for (const auto& [key, value] : metadata) AXL_CHECK(keys.insert(key).second);
  for (const GgufTensorSource& tensor : tensors) {
    AXL_CHECK(names.insert(tensor.name).second);
    AXL_CHECK(tensor.name.size() < 64 && tensor.shape.size() <= gguf::kMostDimensions);
  }
}

/// The header with zeros for a checksum, padded; `digits_at` is where they begin.
std::string make_header(const GgufMetadata& metadata, std::span<const GgufTensorSource> tensors,
                        size_t& digits_at) {
  GgufMetadata kept = metadata;
  std::erase_if(kept, [](const auto& entry) {
    return entry.first == gguf::kChecksumKey || entry.first == gguf::kAlignmentKey;
  });
  kept.emplace_back(gguf::kChecksumKey, std::string(kZeroDigits));
  Header header;
  header.put_raw(gguf::kMagic);
  header.put(gguf::kVersion);
  header.put<uint64_t>(tensors.size());
  header.put<uint64_t>(kept.size());
  for (const auto& [key, value] : kept) {
    header.put(key);
    header.put(value);
  }
  digits_at = header.text().size() - kZeroDigits.size();
  uint64_t offset = 0;
  for (const GgufTensorSource& tensor : tensors) {
    header.put(tensor.name);
    header.put(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) header.put<int64_t>(tensor.shape[i]);
    header.put(static_cast<uint32_t>(tensor.type));
    header.put<uint64_t>(offset);
    offset = gguf::padded(offset + static_cast<uint64_t>(tensor.bytes()), gguf::kAlignment);
  }
  header.text().resize(gguf::padded(header.text().size(), gguf::kAlignment), '\0');
  return header.text();
}

}  // namespace

int64_t GgufTensorSource::bytes() const {
  for (const int64_t dimension : shape) AXL_CHECK(dimension >= 0);
  const auto bytes = gguf::bytes_of(type, shape);
  AXL_CHECK(bytes.has_value());
  return *bytes;
}

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                std::span<const GgufTensorSource> tensors) {
  check_names(metadata, tensors);
  size_t digits_at = 0;
  const std::string header = make_header(metadata, tensors, digits_at);
  AtomicFile file(path);
  Hasher hasher;
  const auto write = [&](const void* data, size_t bytes) {
    hasher.update(data, bytes);
    file.write(data, bytes);
  };
  write(header.data(), header.size());
  std::vector<std::byte> buffer;
  for (const GgufTensorSource& tensor : tensors) {
    buffer.clear();  // what pads is zero then
    buffer.resize(gguf::padded(static_cast<uint64_t>(tensor.bytes()), gguf::kAlignment));
    tensor.fill(buffer.data());
    write(buffer.data(), buffer.size());
  }
  file.write_at(digits_at, format("{:016x}", hasher.digest()));
  file.commit();
}

}  // namespace axl
