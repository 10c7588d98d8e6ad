#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <type_traits>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/formats/gguf.h"
#include "gguf_layout.h"
#include "untrusted.h"

namespace axl {
namespace {

/// The name of a value's type: "u32", "array of u32".
std::string type_text(const GgufValue& value) {
  constexpr const char* kNames[gguf::kScalarTypes] = {"u8",  "i8",   "u16",    "i16", "u32", "i32",
                                                      "f32", "bool", "string", "u64", "i64", "f64"};
  const size_t place = value.index();
  if (place < gguf::kScalarTypes) return kNames[place];
  return format("array of {}", kNames[place - gguf::kScalarTypes]);
}

/// Reads the header from its first byte to its last; each piece is bounded by what is left.
class HeaderReader {
 public:
  HeaderReader(const std::filesystem::path& path, std::string_view file)
      : path_(path.string()), file_(file) {}

  void read(GgufMetadata& metadata, std::map<std::string, GgufFile::Tensor>& tensors) {
    if (file_.substr(0, gguf::kMagic.size()) != gguf::kMagic) refuse("it does not begin with GGUF");
    at_ = gguf::kMagic.size();
    const auto version = take<uint32_t>("version");
    if (version != gguf::kVersion) {
      refuse(
          format("it is of version {}; only {}, little-endian, is known", version, gguf::kVersion));
    }
    const uint64_t tensor_count = take<uint64_t>("count of tensors");
    const uint64_t value_count = take<uint64_t>("count of metadata");
    read_metadata(value_count, metadata);
    read_tensors(tensor_count, tensors);
  }
  size_t checksum_at() const { return checksum_at_; }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(format("{}: not a GGUF file, or damaged: {}", path_, why));
  }

  size_t left() const { return file_.size() - at_; }

  template <class T>
  T take(const char* what) {
    if (left() < sizeof(T)) refuse(format("it ends in the {}", what));
    T value;
    std::memcpy(&value, file_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  /// A count of things that take at least `least` bytes each.
  uint64_t checked_count(uint64_t count, size_t least, const char* what) const {
    if (count <= left() / least) return count;
    refuse(format("{} {}, where {} bytes are left", count, what, left()));
  }

  std::string take_text(const char* what) {
    const uint64_t size = checked_count(take<uint64_t>(what), 1, "bytes of text");
    const std::string_view text = file_.substr(at_, size);
    at_ += size;
    return std::string(text);
  }

  // ---- Metadata ---------------------------------------------------------------------------------

  void read_metadata(uint64_t count, GgufMetadata& metadata) {
    constexpr size_t kLeast = sizeof(uint64_t) + sizeof(uint32_t) + 1;
    std::set<std::string> keys;
    for (checked_count(count, kLeast, "metadata"); count > 0; --count) {
      const std::string key = take_text("key of metadata");
      if (!keys.insert(key).second) refuse(format("metadata {} appears twice", shown(key)));
      if (is_damaged_key(key, gguf::kChecksumKey)) refuse(format("metadata {}", shown(key)));
      checksum_at_ = 0;  // of a file that someone rewrote, see write_gguf()
      metadata.emplace_back(key, take_value(key));
      use(key, metadata.back().second);
    }
  }

  /// The two values that matter to the reader itself.
  void use(const std::string& key, const GgufValue& value) {
    if (key == gguf::kAlignmentKey) {
      const auto* alignment = std::get_if<uint32_t>(&value);
      if (!alignment || *alignment < 8 || !std::has_single_bit(*alignment))
        refuse("general.alignment must be an u32, a power of two from 8 on");
      alignment_ = *alignment;
    }
    if (key == gguf::kChecksumKey) {
      const auto* digits = std::get_if<std::string>(&value);
      if (!digits || digits->size() != kZeroDigits.size())
        refuse(format("{} must be a string of 16 digits", gguf::kChecksumKey));
      checksum_at_ = at_ - kZeroDigits.size();
    }
  }

  GgufValue take_value(const std::string& key) {
    const auto number = take<uint32_t>("type of a value");
    if (number != gguf::kArrayType) {
      return with_scalar(key, number, [&](auto type) {
        return GgufValue(take_scalar<typename decltype(type)::type>(key));
      });
    }
    const auto element = take<uint32_t>("type of an array");
    const auto count = take<uint64_t>("length of an array");
    return with_scalar(key, element, [&](auto type) {
      return GgufValue(take_array<typename decltype(type)::type>(key, count));
    });
  }

  template <class T>
  T take_scalar(const std::string& key) {
    if constexpr (std::is_same_v<T, std::string>) {
      return take_text("text of a value");
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = take<uint8_t>("value");
      if (byte > 1) refuse(format("metadata {} holds {} as a bool", shown(key), byte));
      return byte == 1;
    } else {
      return take<T>("value");
    }
  }

  template <class T>
  std::vector<T> take_array(const std::string& key, uint64_t count) {
    constexpr size_t kLeast = std::is_same_v<T, std::string> ? sizeof(uint64_t) : sizeof(T);
    std::vector<T> values;
    values.reserve(checked_count(count, kLeast, "elements of an array"));
    for (uint64_t i = 0; i < count; ++i) values.push_back(take_scalar<T>(key));
    return values;
  }

  /// body(std::type_identity<T>{}) for the T of a number in the file.
  template <class Body>
  GgufValue with_scalar(const std::string& key, uint32_t number, const Body& body) const {
    switch (number) {
      case 0:
        return body(std::type_identity<uint8_t>());
      case 1:
        return body(std::type_identity<int8_t>());
      case 2:
        return body(std::type_identity<uint16_t>());
      case 3:
        return body(std::type_identity<int16_t>());
      case 4:
        return body(std::type_identity<uint32_t>());
      case 5:
        return body(std::type_identity<int32_t>());
      case 6:
        return body(std::type_identity<float>());
      case 7:
        return body(std::type_identity<bool>());
      case gguf::kStringType:
        return body(std::type_identity<std::string>());
      case gguf::kArrayType:
        refuse(format("metadata {} is an array of arrays", shown(key)));
      case 10:
        return body(std::type_identity<uint64_t>());
      case 11:
        return body(std::type_identity<int64_t>());
      case 12:
        return body(std::type_identity<double>());
    }
    refuse(format("metadata {} has the type {}, which there is not", shown(key), number));
  }

  // ---- Tensors ----------------------------------------------------------------------------------

  /// What the header says of a tensor; the data begins only after the last one's.
  struct Info {
    std::string name;
    ElementType type;
    std::vector<int64_t> shape;
    uint64_t offset, bytes;
  };

  void read_tensors(uint64_t count, std::map<std::string, GgufFile::Tensor>& tensors) {
    constexpr size_t kLeast = 2 * sizeof(uint64_t) + 2 * sizeof(uint32_t);
    std::vector<Info> infos;
    infos.reserve(checked_count(count, kLeast, "tensors"));
    for (uint64_t i = 0; i < count; ++i) infos.push_back(take_info());
    const uint64_t padding = gguf::padded(at_, alignment_) - at_;
    const std::string_view data = file_.substr(at_ + std::min<uint64_t>(padding, left()));
    if (count > 0 && padding > left()) refuse("it ends before the data");
    uint64_t expected = 0, end = 0;
    for (const Info& info : infos) {
      if (info.offset != expected) {
        refuse(format("tensor {} begins at byte {} of the data, but {} was expected",
                      shown(info.name), info.offset, expected));
      }
      if (expected > data.size() || info.bytes > data.size() - expected) {
        refuse(format("tensor {} ends at byte {} of the data, but there are {}", shown(info.name),
                      expected + info.bytes, data.size()));
      }
      end = expected + info.bytes;
      expected = gguf::padded(end, alignment_);
      const auto* begin = reinterpret_cast<const std::byte*>(data.data()) + info.offset;
      if (!tensors.emplace(info.name, GgufFile::Tensor{info.type, info.shape, {begin, info.bytes}})
               .second)
        refuse(format("tensor {} appears twice", shown(info.name)));
    }
    // Some writers leave the last padding out.
    if (data.size() != end && data.size() != expected)
      refuse(format("{} bytes of data belong to no tensor", data.size() - end));
  }

  Info take_info() {
    Info info;
    info.name = take_text("name of a tensor");
    const auto dimensions = take<uint32_t>("shape of a tensor");
    if (dimensions > gguf::kMostDimensions)
      refuse(format("tensor {} has {} dimensions; {} are possible", shown(info.name), dimensions,
                    gguf::kMostDimensions));
    for (uint32_t i = 0; i < dimensions; ++i) {
      const auto size = take<uint64_t>("shape of a tensor");
      if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        refuse(format("tensor {} has a dimension of {}", shown(info.name), size));
      info.shape.insert(info.shape.begin(), static_cast<int64_t>(size));
    }
    info.type = take_type(info.name);
    info.offset = take<uint64_t>("offset of a tensor");
    const auto bytes = gguf::bytes_of(info.type, info.shape);
    if (!bytes) {
      const ElementFormat& f = element_format(info.type);
      refuse(format("tensor {} is {} of {}: no rows of whole blocks of {}, or more than any file",
                    shown(info.name), shape_text(info.shape), f.name, f.elements));
    }
    info.bytes = static_cast<uint64_t>(*bytes);
    return info;
  }

  ElementType take_type(const std::string& name) {
    const auto number = take<uint32_t>("type of a tensor");
    if (const ElementFormat* found = find_element_format(number)) return found->type;
    std::vector<std::string_view> known;
    for (const ElementFormat& f : kElementFormats) known.push_back(f.name);
    throw Error(format("{}: tensor {} is of ggml's type {}, which axl does not read; it reads {}",
                       path_, shown(name), number, fmt::join(known, ", ")));
  }

  std::string path_;
  std::string_view file_;
  size_t at_ = 0;  ///< the next byte to read
  uint64_t alignment_ = gguf::kAlignment;
  size_t checksum_at_ = 0;
};

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path)
    : GgufFile(path, std::make_shared<const MappedFile>(path)) {}

GgufFile::GgufFile(const std::filesystem::path& path, std::shared_ptr<const MappedFile> mapped)
    : GgufFile(path, mapped->bytes(), mapped) {
  mapped_ = mapped.get();
}

GgufFile::GgufFile(const std::filesystem::path& path, std::string_view bytes,
                   std::shared_ptr<const void> owner)
    : path_(path), owner_(std::move(owner)), bytes_(bytes) {
  HeaderReader reader(path, bytes_);
  reader.read(metadata_, tensors_);
  checksum_at_ = reader.checksum_at();
}

void GgufFile::forget_pages() const {
  if (mapped_) mapped_->forget_pages();
}

const GgufFile::Tensor& GgufFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  throw Error(format("{}: there is no tensor '{}' in this file", path_.string(), name));
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found = std::find_if(metadata_.begin(), metadata_.end(),
                                  [&](const auto& entry) { return entry.first == key; });
  return found == metadata_.end() ? nullptr : &found->second;
}

void GgufFile::refuse_missing(std::string_view key) const {
  throw Error(format("{}: there is no '{}' in the metadata of this file", path_.string(), key));
}

void GgufFile::refuse_type(std::string_view key, const GgufValue& value,
                           const GgufValue& wanted) const {
  throw Error(format("{}: '{}' in the metadata is {}, but {} is needed", path_.string(), key,
                     type_text(value), type_text(wanted)));
}

void GgufFile::verify_checksum() const {
  if (!has_checksum()) return;
  const std::string_view file = bytes_;
  const std::string_view declared = file.substr(checksum_at_, kZeroDigits.size());
  Hasher hasher;
  hasher.update(file.substr(0, checksum_at_));
  hasher.update(kZeroDigits);
  hasher.update(file.substr(checksum_at_ + kZeroDigits.size()));
  const std::string actual = format("{:016x}", hasher.digest());
  if (actual == declared) return;
  throw Error(format("{}: the checksum is {}, but the content has {}; {} '{}' in its metadata",
                     path_.string(), shown(declared), actual, kChecksumAdvice, gguf::kChecksumKey));
}

}  // namespace axl
