#include "block_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace axl {
namespace {

static_assert(std::endian::native == std::endian::little, "the blocks are little-endian");

template <class Block>
constexpr bool fits_format() {
  for (const ElementFormat& f : kElementFormats)
    if (f.type == Block::kType) return f.bytes == sizeof(Block) && f.elements == Block::kElements;
  return false;
}
static_assert(fits_format<BlockQ8_0>() && fits_format<BlockQ4_0>() && fits_format<BlockQ5_0>() &&
              fits_format<BlockQ5_1>() && fits_format<BlockQ4_K>() && fits_format<BlockQ5_K>() &&
              fits_format<BlockQ6_K>());

/// The low four bits of 2 n numbers in n bytes: the first n below, the others above.
void pack_nibbles(const uint8_t* q, int n, uint8_t* out) {
  for (int i = 0; i < n; ++i) out[i] = static_cast<uint8_t>((q[i] & 15) | q[n + i] << 4);
}
void unpack_nibbles(const uint8_t* bytes, int n, uint8_t* q) {
  for (int i = 0; i < n; ++i) {
    q[i] = bytes[i] & 15;
    q[n + i] = bytes[i] >> 4;
  }
}

/// The fifth bits of 32 numbers as bits of one integer.
void pack_fifth_bits(const uint8_t* q, uint8_t (&out)[4]) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(q[i] >> 4) << i;
  std::memcpy(out, &bits, sizeof bits);
}
void unpack_fifth_bits(const uint8_t (&bytes)[4], uint8_t* q) {
  uint32_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  for (int i = 0; i < 32; ++i) q[i] |= static_cast<uint8_t>((bits >> i & 1) << 4);
}

/// 8 scales and 8 minima of 6 bits in 12 bytes: the first four of each whole, in the low bits of
/// bytes 0 to 7; of the others the low nibbles in bytes 8 to 11, the two high bits above the first.
void pack_scales(const SuperBlock& code, uint8_t (&out)[12]) {
  for (int j = 0; j < 4; ++j) {
    const int scale = code.scale[j + 4], min = code.min[j + 4];
    out[j] = static_cast<uint8_t>(code.scale[j] | (scale >> 4) << 6);
    out[j + 4] = static_cast<uint8_t>(code.min[j] | (min >> 4) << 6);
    out[j + 8] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}
void unpack_scales(const uint8_t (&bytes)[12], SuperBlock& code) {
  for (int j = 0; j < 4; ++j) {
    code.scale[j] = bytes[j] & 63;
    code.min[j] = bytes[j + 4] & 63;
    code.scale[j + 4] = static_cast<int8_t>((bytes[j + 8] & 15) | (bytes[j] >> 6) << 4);
    code.min[j + 4] = static_cast<uint8_t>(bytes[j + 8] >> 4 | (bytes[j + 4] >> 6) << 4);
  }
}

/// What Q4_K and Q5_K share: scales, and four times the nibbles of 64 elements in 32 bytes.
template <class Block>
void pack_common(const SuperBlock& code, Block& block) {
  block.d = code.d;
  block.dmin = code.dmin;
  pack_scales(code, block.scales);
  uint8_t q[256];
  std::copy_n(code.q, 256, q);
  for (int j = 0; j < 4; ++j) pack_nibbles(q + 64 * j, 32, block.qs + 32 * j);
}
template <class Block>
SuperBlock unpack_common(const Block& block) {
  SuperBlock code;
  code.d = block.d;
  code.dmin = block.dmin;
  unpack_scales(block.scales, code);
  uint8_t q[256];
  for (int j = 0; j < 4; ++j) unpack_nibbles(block.qs + 32 * j, 32, q + 64 * j);
  std::copy_n(q, 256, code.q);
  return code;
}

}  // namespace

template <class Block>
void pack_codes(const uint8_t* q, Block& block) {
  pack_nibbles(q, 16, block.qs);
  if constexpr (Block::kBits == 5) pack_fifth_bits(q, block.qh);
}
template <class Block>
void unpack_codes(const Block& block, uint8_t* q) {
  unpack_nibbles(block.qs, 16, q);
  if constexpr (Block::kBits == 5) unpack_fifth_bits(block.qh, q);
}
template void pack_codes(const uint8_t*, BlockQ4_0&);
template void pack_codes(const uint8_t*, BlockQ5_0&);
template void pack_codes(const uint8_t*, BlockQ5_1&);
template void unpack_codes(const BlockQ4_0&, uint8_t*);
template void unpack_codes(const BlockQ5_0&, uint8_t*);
template void unpack_codes(const BlockQ5_1&, uint8_t*);

void pack(const SuperBlock& code, BlockQ4_K& block) { pack_common(code, block); }
SuperBlock unpack(const BlockQ4_K& block) { return unpack_common(block); }

// The fifth bit of element l of sub-block s is bit s of qh[l].
void pack(const SuperBlock& code, BlockQ5_K& block) {
  pack_common(code, block);
  for (int l = 0; l < 32; ++l) {
    int bits = 0;
    for (int s = 0; s < 8; ++s) bits |= (code.q[32 * s + l] >> 4) << s;
    block.qh[l] = static_cast<uint8_t>(bits);
  }
}
SuperBlock unpack(const BlockQ5_K& block) {
  SuperBlock code = unpack_common(block);
  for (int s = 0; s < 8; ++s)
    for (int l = 0; l < 32; ++l)
      code.q[32 * s + l] += static_cast<int8_t>((block.qh[l] >> s & 1) << 4);
  return code;
}

// Of each 128 elements four runs of 32: nibbles of runs 0 and 1 low, of 2 and 3 high; two bits of
// each run in qh.
void pack(const SuperBlock& code, BlockQ6_K& block) {
  block.d = code.d;
  std::copy_n(code.scale, 16, block.scales);
  for (int half = 0; half < 2; ++half) {
    uint8_t q[128];
    for (int i = 0; i < 128; ++i) q[i] = static_cast<uint8_t>(code.q[128 * half + i] + 32);
    pack_nibbles(q, 64, block.ql + 64 * half);
    for (int l = 0; l < 32; ++l) {
      int bits = 0;
      for (int run = 0; run < 4; ++run) bits |= (q[32 * run + l] >> 4) << 2 * run;
      block.qh[32 * half + l] = static_cast<uint8_t>(bits);
    }
  }
}
SuperBlock unpack(const BlockQ6_K& block) {
  SuperBlock code;
  code.d = block.d;
  std::copy_n(block.scales, 16, code.scale);
  for (int half = 0; half < 2; ++half) {
    uint8_t q[128];
    unpack_nibbles(block.ql + 64 * half, 64, q);
    for (int i = 0; i < 128; ++i) {
      const int high = block.qh[32 * half + i % 32] >> 2 * (i / 32) & 3;
      code.q[128 * half + i] = static_cast<int8_t>((q[i] | high << 4) - 32);
    }
  }
  return code;
}

}  // namespace axl
