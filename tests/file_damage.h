#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "axl/base/file.h"

/// What every reader of files with a checksum must refuse.
namespace axl {

using Accepts = std::function<bool(const std::filesystem::path&)>;

/// Every shorter file, and one longer by a byte. `path` is left empty.
inline void expect_every_truncation_refused(const std::filesystem::path& path,
                                            const Accepts& accepts) {
  const size_t whole = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, whole + 1);
  EXPECT_FALSE(accepts(path)) << "one byte too many";
  std::filesystem::resize_file(path, whole);
  EXPECT_TRUE(accepts(path));
  for (size_t size = whole; size-- > 0;) {
    std::filesystem::resize_file(path, size);
    EXPECT_FALSE(accepts(path)) << size << " of " << whole;
  }
}

/// Every file with one bit changed.
inline void expect_every_flipped_bit_refused(const std::filesystem::path& path,
                                             const Accepts& accepts) {
  const std::string whole = read_text(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto set_byte = [&](size_t at, int value) {
    file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(value)).flush();
  };
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      set_byte(at, whole[at] ^ (1 << bit));
      EXPECT_FALSE(accepts(path)) << "byte " << at << ", bit " << bit;
    }
    set_byte(at, whole[at]);
  }
  EXPECT_TRUE(accepts(path)) << "each bit was put back";
}

}  // namespace axl
