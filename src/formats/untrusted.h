#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/format.h"

// What readers of files by strangers share.

namespace axl {

/// A name out of a file, fit for a message: of bounded length and without control characters.
inline std::string shown(std::string_view name) {
  constexpr size_t kLongest = 100;
  std::string text(name.substr(0, kLongest));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }, '?');
  return format("'{}{}'", text, name.size() > kLongest ? "…" : "");
}

/// The product of a shape and an element size, or nothing when it exceeds an int64.
inline std::optional<int64_t> product(const std::vector<int64_t>& shape, int64_t factor) {
  int64_t result = factor;
  for (const int64_t dimension : shape) {
    if (__builtin_mul_overflow(result, dimension, &result)) return std::nullopt;
  }
  return result;
}

inline std::string shape_text(const std::vector<int64_t>& shape) {
  return format("[{}]", fmt::join(shape, ", "));
}

/// Sixteen digits, which stand for a checksum while it is computed.
inline constexpr std::string_view kZeroDigits = "0000000000000000";

/// Damage to the key itself must not pass for a file without checksum.
inline bool is_damaged_key(std::string_view key, std::string_view checksum_key) {
  if (key.size() != checksum_key.size()) return false;
  size_t different = 0;
  for (size_t i = 0; i < key.size(); ++i) different += key[i] != checksum_key[i];
  return different == 1;
}

inline constexpr const char* kChecksumAdvice =
    "the file is damaged, or another program changed it and kept the checksum; get it again, or "
    "write it without";

}  // namespace axl
