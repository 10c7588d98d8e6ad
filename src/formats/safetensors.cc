#include "axl/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/base/parallel.h"
#include "axl/tensor/half.h"
#include "json.h"
#include "untrusted.h"

namespace axl {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the original implementation
constexpr size_t kHeaderAlignment = 64;            // tensors then lie on cache lines when mapped
constexpr int kHeaderDepth = 3;                    // header { tensor { shape [
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kChecksumKey = "axl_checksum";
constexpr std::string_view kChecksumBefore = "\"axl_checksum\":\"";

struct DTypeInfo {
  DType type;
  std::string_view name;
  size_t bytes;
};
constexpr std::array<DTypeInfo, 17> kDTypes = {{
    {DType::kF32, "F32", 4},
    {DType::kBF16, "BF16", 2},
    {DType::kI64, "I64", 8},
    {DType::kU8, "U8", 1},
    {DType::kBool, "BOOL", 1},
    {DType::kI8, "I8", 1},
    {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kF8E4M3, "F8_E4M3", 1},
    {DType::kF8E8M0, "F8_E8M0", 1},
    {DType::kI16, "I16", 2},
    {DType::kU16, "U16", 2},
    {DType::kF16, "F16", 2},
    {DType::kI32, "I32", 4},
    {DType::kU32, "U32", 4},
    {DType::kF64, "F64", 8},
    {DType::kU64, "U64", 8},
    {DType::kC64, "C64", 8},
}};

const DTypeInfo& info_of(DType type) {
  const auto found = std::find_if(kDTypes.begin(), kDTypes.end(),
                                  [&](const DTypeInfo& info) { return info.type == type; });
  AXL_CHECK(found != kDTypes.end());
  return *found;
}

// ---- Checksum -----------------------------------------------------------------------------------

/// Where the digits of the checksum stand in a header, or nothing. In JSON without blanks the text
/// can be nothing but the key itself, because quotes inside of strings are escaped.
std::optional<size_t> checksum_place(std::string_view header) {
  const size_t at = header.find(kChecksumBefore);
  if (at == header.npos) return std::nullopt;
  const size_t place = at + kChecksumBefore.size();
  if (place + kZeroDigits.size() > header.size()) return std::nullopt;
  return place;
}

/// Begins the hash of a file: its length word and header, with the digits as zeros.
void hash_header(Hasher& hasher, std::string_view header, size_t digits_at) {
  const uint64_t length = header.size();
  hasher.update(&length, sizeof length);
  hasher.update(header.substr(0, digits_at));
  hasher.update(kZeroDigits);
  hasher.update(header.substr(digits_at + kZeroDigits.size()));
}

/// Throws Error unless the file has the checksum that its metadata declares.
void verify_checksum(std::string_view header, std::string_view data, const std::string& declared,
                     const std::string& path) {
  const std::string advice = format("{} '{}' in its metadata", kChecksumAdvice, kChecksumKey);
  const auto place = checksum_place(header);
  if (!place || header.substr(*place, kZeroDigits.size()) != declared) {
    throw Error(
        format("{}: the checksum {} is not as axl writes it; {}", path, shown(declared), advice));
  }
  Hasher hasher;
  hash_header(hasher, header, *place);
  hasher.update(data);
  const std::string actual = format("{:016x}", hasher.digest());
  if (actual == declared) return;
  throw Error(
      format("{}: the checksum is {}, but the content has {}; {}", path, declared, actual, advice));
}

// ---- Reading ------------------------------------------------------------------------------------

/// Splits a file into header text and data, and reads the header.
class HeaderReader {
 public:
  using Tensors = std::map<std::string, SafetensorsFile::Tensor>;

  HeaderReader(std::string path, std::string_view file) : path_(std::move(path)) {
    uint64_t length = 0;
    if (file.size() < kLengthBytes) refuse(format("only {} bytes long", file.size()));
    std::memcpy(&length, file.data(), kLengthBytes);
    const uint64_t most = std::min<uint64_t>(kMaxHeaderBytes, file.size() - kLengthBytes);
    if (length > most) refuse(format("a header of {} bytes, where {} are possible", length, most));
    header_ = file.substr(kLengthBytes, length);
    data_ = file.substr(kLengthBytes + length);
    if (!header_.starts_with('{')) refuse("the header does not begin with '{'");
  }

  void read(Tensors& tensors, std::map<std::string, std::string>& metadata) const {
    const json root = parse_json(header_, kHeaderDepth, path_ + ": the header");
    for (const auto& [name, entry] : root.items()) {
      if (name == kMetadataKey) {
        read_metadata(entry, metadata);
      } else {
        tensors.emplace(name, read_tensor(shown(name), entry));
      }
    }
    check_coverage(tensors);
  }

  std::string_view header() const { return header_; }
  std::string_view data() const { return data_; }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(format("{}: not a safetensors file, or damaged: {}", path_, why));
  }

  void read_metadata(const json& entry, std::map<std::string, std::string>& metadata) const {
    if (!entry.is_object()) refuse("__metadata__ is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) refuse(format("metadata {} is not a string", shown(key)));
      if (is_damaged_key(key, kChecksumKey)) refuse(format("metadata {}", shown(key)));
      metadata.emplace(key, value.get<std::string>());
    }
  }

  SafetensorsFile::Tensor read_tensor(const std::string& name, const json& entry) const {
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
        !entry.contains("shape") || !entry.contains("data_offsets")) {
      refuse(format("tensor {} needs dtype, shape and data_offsets, no more", name));
    }
    SafetensorsFile::Tensor tensor;
    tensor.dtype = read_dtype(name, entry["dtype"]);
    tensor.shape = read_counts(name, "shape", entry["shape"]);
    const auto offsets = read_counts(name, "data_offsets", entry["data_offsets"]);
    if (offsets.size() != 2 || offsets[0] > offsets[1] || !fits(offsets[1])) {
      refuse(format(
          "tensor {} has data_offsets {}, but the file has {} bytes of data", name,
          shape_text({offsets.begin(), offsets.begin() + std::min<size_t>(2, offsets.size())}),
          data_.size()));
    }
    const int64_t size = offsets[1] - offsets[0];
    if (product(tensor.shape, static_cast<int64_t>(dtype_bytes(tensor.dtype))) != size) {
      refuse(format("tensor {} is {} of {}, which does not fill its {} bytes", name,
                    shown(shape_text(tensor.shape)), dtype_name(tensor.dtype), size));
    }
    tensor.bytes = data_.substr(static_cast<size_t>(offsets[0]), static_cast<size_t>(size));
    return tensor;
  }

  DType read_dtype(const std::string& name, const json& value) const {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    for (const DTypeInfo& info : kDTypes) {
      if (value.is_string() && info.name == text) return info.type;
    }
    refuse(format("tensor {} has the dtype {}, which axl does not know", name, shown(text)));
  }

  std::vector<int64_t> read_counts(const std::string& name, const char* key,
                                   const json& value) const {
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    std::vector<int64_t> counts;
    if (!value.is_array()) refuse(format("tensor {}: {} is not a list", name, key));
    for (const json& item : value) {
      if (!item.is_number_unsigned() || item.get<uint64_t>() > kMost) {
        refuse(
            format("tensor {}: {} holds {}, which is not a count", name, key, shown(item.dump())));
      }
      counts.push_back(item.get<int64_t>());
    }
    return counts;
  }

  bool fits(int64_t offset) const { return static_cast<uint64_t>(offset) <= data_.size(); }

  /// Tensors cover the data exactly: two that overlap, or bytes that belong to none, are refused.
  void check_coverage(const Tensors& tensors) const {
    std::vector<const Tensors::value_type*> order;
    for (const auto& entry : tensors) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      const auto &x = a->second.bytes, &y = b->second.bytes;
      return std::pair(x.data(), x.size()) < std::pair(y.data(), y.size());
    });
    const char* expected = data_.data();
    for (const auto* entry : order) {
      const std::string_view bytes = entry->second.bytes;
      if (bytes.data() != expected) {
        refuse(format("tensor {} begins at byte {} of the data, but {} was expected",
                      shown(entry->first), bytes.data() - data_.data(), expected - data_.data()));
      }
      expected += bytes.size();
    }
    const auto rest = data_.data() + data_.size() - expected;
    if (rest != 0) refuse(format("the last {} bytes belong to no tensor", rest));
  }

  std::string path_;
  std::string_view header_, data_;
};

/// Elements [begin, begin + count) of a tensor of F32 or BF16.
void copy_floats(const SafetensorsFile::Tensor& tensor, int64_t begin, int64_t count, float* out) {
  const char* from = tensor.bytes.data() + begin * static_cast<int64_t>(dtype_bytes(tensor.dtype));
  if (tensor.dtype == DType::kF32) {
    std::memcpy(out, from, sizeof(float) * count);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, sizeof half);
    out[i] = from_bf16(half);
  }
}

/// Without a branch for each element, so that it is one for many.
bool are_finite(const float* x, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t others = 0;
  for (int64_t i = 0; i < count; ++i)
    others |= (std::bit_cast<uint32_t>(x[i]) & kExponent) == kExponent;
  return others == 0;
}

// ---- Writing ------------------------------------------------------------------------------------

/// In order of falling element size: with a header of whole cache lines, all are aligned.
std::vector<TensorSource> in_file_order(std::span<const TensorSource> tensors) {
  std::vector<TensorSource> order(tensors.begin(), tensors.end());
  std::stable_sort(order.begin(), order.end(), [](const TensorSource& a, const TensorSource& b) {
    return dtype_bytes(a.dtype) > dtype_bytes(b.dtype);
  });
  return order;
}

size_t source_bytes(const TensorSource& tensor) {
  for (const int64_t dimension : tensor.shape) AXL_CHECK(dimension >= 0);
  const auto bytes = product(tensor.shape, static_cast<int64_t>(dtype_bytes(tensor.dtype)));
  AXL_CHECK(bytes.has_value());
  return static_cast<size_t>(*bytes);
}

/// The header with zeros for a checksum, padded with blanks.
std::string make_header(const std::vector<TensorSource>& tensors,
                        std::map<std::string, std::string> metadata) {
  metadata[std::string(kChecksumKey)] = kZeroDigits;
  ordered_json header;
  header[std::string(kMetadataKey)] = metadata;
  uint64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    AXL_CHECK(!header.contains(tensor.name));  // the name of the metadata included
    const uint64_t end = offset + source_bytes(tensor);
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  const size_t excess = (kLengthBytes + text.size()) % kHeaderAlignment;
  text.append(excess == 0 ? 0 : kHeaderAlignment - excess, ' ');
  return text;
}

void insert_checksum(std::string& header, const std::vector<TensorSource>& tensors) {
  const auto place = checksum_place(header);
  AXL_CHECK(place.has_value());
  Hasher hasher;
  hash_header(hasher, header, *place);
  for (const TensorSource& tensor : tensors) hasher.update(tensor.data, source_bytes(tensor));
  header.replace(*place, kZeroDigits.size(), format("{:016x}", hasher.digest()));
}

}  // namespace

size_t dtype_bytes(DType type) { return info_of(type).bytes; }
std::string_view dtype_name(DType type) { return info_of(type).name; }

void write_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<TensorSource> order = in_file_order(tensors);
  std::string header;
  try {
    header = make_header(order, metadata);
  } catch (const json::exception& e) {  // a name or metadata that is not UTF-8
    throw Error(format("{}: cannot write the header: {}", path.string(), e.what()));
  }
  if (header.size() > kMaxHeaderBytes) {
    throw Error(format("{}: the header would have {} bytes; {} are allowed", path.string(),
                       header.size(), kMaxHeaderBytes));
  }
  insert_checksum(header, order);
  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header);
  for (const TensorSource& tensor : order) file.write(tensor.data, source_bytes(tensor));
  file.commit();
}

int64_t SafetensorsFile::Tensor::elements() const {
  return static_cast<int64_t>(bytes.size() / dtype_bytes(dtype));
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path), file_(path) {
  const HeaderReader reader(path.string(), file_.bytes());
  reader.read(tensors_, metadata_);
  const auto declared = metadata_.find(std::string(kChecksumKey));
  if (declared == metadata_.end()) return;
  verify_checksum(reader.header(), reader.data(), declared->second, path.string());
  checksum_ = declared->second;
}

const SafetensorsFile::Tensor& SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  throw Error(format("{}: there is no tensor '{}' in this file", path_.string(), name));
}

void SafetensorsFile::read_floats(const std::string& name, const std::vector<int64_t>& shape,
                                  float* out) const {
  const Tensor& source = tensor(name);
  if (source.shape != shape) {
    throw Error(format("{}: tensor '{}' is {}, but {} is needed", path_.string(), name,
                       shown(shape_text(source.shape)), shape_text(shape)));
  }
  if (source.dtype != DType::kF32 && source.dtype != DType::kBF16)
    throw Error(format("{}: tensor '{}' is of {}, but F32 or BF16 is needed", path_.string(), name,
                       dtype_name(source.dtype)));
  // A chunk is still in the core's cache when it is checked.
  constexpr int64_t kChunk = 1 << 16;
  const int64_t n = source.elements();
  std::atomic<bool> all_are_finite{true};
  parallel_for_dynamic((n + kChunk - 1) / kChunk, [&](int64_t i) {
    const int64_t begin = i * kChunk, count = std::min(kChunk, n - begin);
    copy_floats(source, begin, count, out + begin);
    if (!are_finite(out + begin, count)) all_are_finite = false;
  });
  if (all_are_finite) return;
  const float* bad = std::find_if_not(out, out + n, [](float x) { return std::isfinite(x); });
  throw Error(format("{}: tensor '{}' holds {} at element {}; the model is damaged or diverged",
                     path_.string(), name, *bad, bad - out));
}

}  // namespace axl
