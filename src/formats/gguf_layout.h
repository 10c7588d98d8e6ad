#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "axl/tensor/packed.h"
#include "untrusted.h"

// What the reader and the writer of GGUF share.

namespace axl::gguf {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr uint32_t kVersion = 3;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr uint32_t kAlignment = 32;
inline constexpr std::string_view kChecksumKey = "axl.checksum";
inline constexpr size_t kMostDimensions = 4;

/// Of the values in files; the numbers of scalars are their places in GgufValue, but for the gap
/// that the array makes.
inline constexpr uint32_t kStringType = 8, kArrayType = 9;
inline constexpr size_t kScalarTypes = 12;
constexpr uint32_t scalar_number(size_t place) {
  return static_cast<uint32_t>(place < kArrayType ? place : place + 1);
}

/// At least `size`, where it does not exceed an uint64.
constexpr uint64_t padded(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

/// What a tensor takes; nothing when its rows are no whole blocks or it exceeds an int64.
inline std::optional<int64_t> bytes_of(ElementType type, const std::vector<int64_t>& shape) {
  const ElementFormat& f = element_format(type);
  std::vector<int64_t> blocks = shape.empty() ? std::vector<int64_t>{1} : shape;
  if (blocks.back() % f.elements != 0) return std::nullopt;
  blocks.back() /= f.elements;
  return product(blocks, f.bytes);
}

}  // namespace axl::gguf
