#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "axl/base/error.h"

namespace axl {

/// How the elements of a stored matrix are coded: plainly, or in blocks of neighbours in a row that
/// share a scale. Names, layouts and numbers are ggml's, so that files are GGUF.
enum class ElementType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI32 = 26,
  kBF16 = 30,
};

/// A block of `elements` neighbours takes `bytes`; 1 element where there are no blocks.
struct ElementFormat {
  ElementType type;
  std::string_view name;  ///< "q8_0"
  int64_t elements, bytes;
};

inline constexpr ElementFormat kElementFormats[] = {
    {ElementType::kF32, "f32", 1, 4},       {ElementType::kF16, "f16", 1, 2},
    {ElementType::kQ4_0, "q4_0", 32, 18},   {ElementType::kQ5_0, "q5_0", 32, 22},
    {ElementType::kQ5_1, "q5_1", 32, 24},   {ElementType::kQ8_0, "q8_0", 32, 34},
    {ElementType::kQ4_K, "q4_k", 256, 144}, {ElementType::kQ5_K, "q5_k", 256, 176},
    {ElementType::kQ6_K, "q6_k", 256, 210}, {ElementType::kI32, "i32", 1, 4},
    {ElementType::kBF16, "bf16", 1, 2},
};

/// nullptr for a number that names no format known here.
constexpr const ElementFormat* find_element_format(uint32_t number) {
  for (const ElementFormat& f : kElementFormats)
    if (static_cast<uint32_t>(f.type) == number) return &f;
  return nullptr;
}
inline const ElementFormat& element_format(ElementType type) {
  const ElementFormat* format = find_element_format(static_cast<uint32_t>(type));
  AXL_CHECK(format);
  return *format;
}

/// A read-only [rows, cols] matrix in coded rows, which somebody else owns (a mapped file, mostly).
/// Rows are padded with zeros to whole blocks and follow each other without gaps.
struct PackedMatrix {
  ElementType type = ElementType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0, cols = 0;
  const std::byte* panels = nullptr;  ///< the rows once more, as products read them, or null

  bool empty() const { return data == nullptr; }
  int64_t row_bytes() const {
    const ElementFormat& f = element_format(type);
    return (cols + f.elements - 1) / f.elements * f.bytes;
  }
  int64_t bytes() const { return rows * row_bytes(); }
  const std::byte* row(int64_t i) const { return data + i * row_bytes(); }
};

}  // namespace axl
