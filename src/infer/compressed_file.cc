#include "axl/infer/compressed_file.h"

#include <bit>
#include <cstring>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"

namespace axl {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::string_view kMagic = "AXLZ";
constexpr uint16_t kVersion = 1;
constexpr size_t kChecksumAt = 8;

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint32_t checksum_of(std::string_view file) {
  Hasher hasher;
  hasher.update(file.substr(0, kChecksumAt));
  hasher.update(std::string_view("\0\0\0\0", sizeof(uint32_t)));
  hasher.update(file.substr(kChecksumAt + sizeof(uint32_t)));
  return static_cast<uint32_t>(hasher.digest());
}

/// Takes values off the front of a file.
class Reader {
 public:
  Reader(std::string_view bytes, const std::string& where) : rest_(bytes), where_(where) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(format("{}: {}", where_, why));
  }

  std::string_view take(uint64_t bytes) {
    if (bytes > rest_.size()) refuse("the file is cut short; get it again");
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view take_all() { return take(rest_.size()); }

 private:
  std::string_view rest_;
  const std::string& where_;
};

std::vector<std::string_view> read_lanes(Reader& reader, uint64_t lanes) {
  std::vector<uint64_t> sizes;
  while (sizes.size() + 1 < lanes) sizes.push_back(reader.number<uint64_t>());
  std::vector<std::string_view> codes;
  for (uint64_t size : sizes) codes.push_back(reader.take(size));
  if (lanes > 0) codes.push_back(reader.take_all());
  return codes;
}

}  // namespace

std::string to_bytes(const CompressedFile& file) {
  std::string bytes(kMagic);
  put(bytes, kVersion);
  put(bytes, static_cast<uint16_t>(file.lanes.size()));
  put(bytes, uint32_t{0});
  put(bytes, file.arithmetic);
  put(bytes, file.length);
  put(bytes, file.model);
  put(bytes, file.content);
  for (size_t i = 0; i + 1 < file.lanes.size(); ++i) put(bytes, uint64_t{file.lanes[i].size()});
  for (std::string_view lane : file.lanes) bytes += lane;
  const uint32_t checksum = checksum_of(bytes);
  std::memcpy(bytes.data() + kChecksumAt, &checksum, sizeof checksum);
  return bytes;
}

CompressedFile parse_compressed_file(std::string_view bytes, const std::string& where) {
  Reader reader(bytes, where);
  if (!bytes.starts_with(kMagic)) reader.refuse("not a file that 'axl compress' wrote");
  reader.take(kMagic.size());
  if (const auto version = reader.number<uint16_t>(); version != kVersion)
    reader.refuse(format("the format's version is {}, but this axl reads {}", version, kVersion));
  const uint64_t lanes = reader.number<uint16_t>();
  if (reader.number<uint32_t>() != checksum_of(bytes))
    reader.refuse("the checksum does not match: the file is damaged or cut short; get it again");
  CompressedFile file;
  file.arithmetic = reader.number<uint32_t>();
  file.length = reader.number<uint64_t>();
  file.model = reader.number<uint64_t>();
  file.content = reader.number<uint64_t>();
  if (lanes > kMaxLanes || lanes > file.length || (lanes == 0) != (file.length == 0))
    reader.refuse(format("{} bytes in {} lanes: no file of axl", file.length, lanes));
  file.lanes = read_lanes(reader, lanes);
  if (!reader.take_all().empty()) reader.refuse("bytes follow the end");
  return file;
}

}  // namespace axl
