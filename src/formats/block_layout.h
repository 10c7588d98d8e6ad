#pragma once

#include <cstdint>

#include "axl/tensor/packed.h"

// The blocks as bytes, and the same as plain numbers. Layouts: ggml's ggml-common.h, type by type.
// Halves (`d`, `dmin`, `m`) are IEEE f16; where integers are wider than a byte, little-endian.

namespace axl {

struct BlockQ8_0 {
  static constexpr ElementType kType = ElementType::kQ8_0;
  static constexpr int kElements = 32;
  uint16_t d;
  int8_t q[32];
};
struct BlockQ4_0 {
  static constexpr ElementType kType = ElementType::kQ4_0;
  static constexpr int kElements = 32, kBits = 4;
  uint16_t d;
  uint8_t qs[16];
};
struct BlockQ5_0 {
  static constexpr ElementType kType = ElementType::kQ5_0;
  static constexpr int kElements = 32, kBits = 5;
  uint16_t d;
  uint8_t qh[4], qs[16];
};
struct BlockQ5_1 {
  static constexpr ElementType kType = ElementType::kQ5_1;
  static constexpr int kElements = 32, kBits = 5;
  uint16_t d, m;
  uint8_t qh[4], qs[16];
};
struct BlockQ4_K {
  static constexpr ElementType kType = ElementType::kQ4_K;
  static constexpr int kElements = 256, kBits = 4;
  uint16_t d, dmin;
  uint8_t scales[12], qs[128];
};
struct BlockQ5_K {
  static constexpr ElementType kType = ElementType::kQ5_K;
  static constexpr int kElements = 256, kBits = 5;
  uint16_t d, dmin;
  uint8_t scales[12], qh[32], qs[128];
};
struct BlockQ6_K {
  static constexpr ElementType kType = ElementType::kQ6_K;
  static constexpr int kElements = 256, kBits = 6;
  uint8_t ql[128], qh[64];
  int8_t scales[16];
  uint16_t d;
};

/// Numbers of kBits bits each, as they lie in qs and qh of a block of 32.
template <class Block>
void pack_codes(const uint8_t* q, Block& block);
template <class Block>
void unpack_codes(const Block& block, uint8_t* q);

/// A block of 256 as plain numbers: in sub-block s, x = d scale[s] q - dmin min[s].
struct SuperBlock {
  uint16_t d = 0, dmin = 0;
  int8_t scale[16] = {};
  uint8_t min[16] = {};
  int8_t q[256] = {};
};

void pack(const SuperBlock& code, BlockQ4_K& block);
void pack(const SuperBlock& code, BlockQ5_K& block);
void pack(const SuperBlock& code, BlockQ6_K& block);
SuperBlock unpack(const BlockQ4_K& block);
SuperBlock unpack(const BlockQ5_K& block);
SuperBlock unpack(const BlockQ6_K& block);

/// Elements that share a scale in a block of 256.
template <class Block>
constexpr int kSubBlock = Block::kType == ElementType::kQ6_K ? 16 : 32;

}  // namespace axl
