#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace axl {

/// What a compressed file says. In the file, little-endian:
///
///    0  "AXLZ"            12  u32 arithmetic     40  u64 bytes of each lane but the last
///    4  u16 version, 1    16  u64 length             the lanes, one after the other
///    6  u16 lanes         24  u64 model
///    8  u32 checksum      32  u64 content
///
/// checksum: lower half of the XXH3 of the file with these four bytes as zeros.
struct CompressedFile {
  uint64_t length = 0;                  ///< bytes of the content
  uint64_t model = 0;                   ///< checksum of the model
  uint64_t content = 0;                 ///< XXH3 of the content
  uint32_t arithmetic = 0;              ///< fingerprint of how the machine computes logits
  std::vector<std::string_view> lanes;  ///< codes of consecutive pieces of the content
};

/// The most pieces that a content is cut into.
inline constexpr uint64_t kMaxLanes = 16;

std::string to_bytes(const CompressedFile& file);

/// The reverse, as views into `bytes`. Throws Error beginning with `where` for anything that
/// to_bytes would not write: another format, a version to come, a file that is cut short or
/// damaged.
CompressedFile parse_compressed_file(std::string_view bytes, const std::string& where);

}  // namespace axl
