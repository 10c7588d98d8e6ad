#include "axl/formats/block_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "axl/base/parallel.h"
#include "axl/tensor/half.h"
#include "block_layout.h"
#include "scale_search.h"

namespace axl {
namespace {

constexpr float kLargestHalf = 65504;
constexpr int kLargestBlock = 256;

// ---- Blocks -------------------------------------------------------------------------------------

struct BlockF32 {
  static constexpr int kElements = 1;
  float value;
};
struct BlockF16 {
  static constexpr int kElements = 1;
  uint16_t value;
};
struct BlockBF16 {
  static constexpr int kElements = 1;
  uint16_t value;
};

void encode_block(const Samples& s, BlockF32& block) { block.value = s.x[0]; }
void encode_block(const Samples& s, BlockF16& block) { block.value = to_f16(s.x[0]); }
void encode_block(const Samples& s, BlockBF16& block) { block.value = to_bf16(s.x[0]); }
void decode_block(const BlockF32& block, float* out) { *out = block.value; }
void decode_block(const BlockF16& block, float* out) { *out = from_f16(block.value); }
void decode_block(const BlockBF16& block, float* out) { *out = from_bf16(block.value); }

void encode_block(const Samples& s, BlockQ8_0& block) {
  float largest = 0;
  for (int i = 0; i < s.size; ++i) largest = std::max(largest, std::abs(s.x[i]));
  const float d = largest / 127, inverse = d < 1e-20f ? 0 : 1 / d;
  block.d = to_f16(d);
  for (int i = 0; i < s.size; ++i) block.q[i] = static_cast<int8_t>(std::round(s.x[i] * inverse));
}
void decode_block(const BlockQ8_0& block, float* out) {
  const float d = from_f16(block.d);
  for (int i = 0; i < block.kElements; ++i) out[i] = d * static_cast<float>(block.q[i]);
}

/// Q4_0 and Q5_0: the code stored is q - codes.low.
template <class Block>
constexpr Range kSymmetric = {-(1 << (Block::kBits - 1)), (1 << (Block::kBits - 1)) - 1};

template <class Block>
void encode_symmetric(const Samples& s, Block& block) {
  constexpr Range codes = kSymmetric<Block>;
  block.d = to_f16(fit_scale(s, codes).scale);
  const float inverse = inverse_of(from_f16(block.d));
  uint8_t q[Block::kElements];
  for (int i = 0; i < s.size; ++i)
    q[i] = static_cast<uint8_t>(nearest_code(s.x[i], inverse, 0, codes) - codes.low);
  pack_codes(q, block);
}
template <class Block>
void decode_symmetric(const Block& block, float* out) {
  const float d = from_f16(block.d);
  uint8_t q[Block::kElements];
  unpack_codes(block, q);
  for (int i = 0; i < block.kElements; ++i)
    out[i] = d * static_cast<float>(q[i] + kSymmetric<Block>.low);
}
void encode_block(const Samples& s, BlockQ4_0& block) { encode_symmetric(s, block); }
void encode_block(const Samples& s, BlockQ5_0& block) { encode_symmetric(s, block); }
void decode_block(const BlockQ4_0& block, float* out) { decode_symmetric(block, out); }
void decode_block(const BlockQ5_0& block, float* out) { decode_symmetric(block, out); }

void encode_block(const Samples& s, BlockQ5_1& block) {
  constexpr Range codes = {0, 31};
  const Fit fit = fit_affine(s, codes, kLargestHalf);
  block.d = to_f16(fit.scale);
  block.m = to_f16(fit.offset);
  const float inverse = inverse_of(from_f16(block.d)), offset = from_f16(block.m);
  uint8_t q[32];
  for (int i = 0; i < s.size; ++i)
    q[i] = static_cast<uint8_t>(nearest_code(s.x[i], inverse, offset, codes));
  pack_codes(q, block);
}
void decode_block(const BlockQ5_1& block, float* out) {
  const float d = from_f16(block.d), m = from_f16(block.m);
  uint8_t q[32];
  unpack_codes(block, q);
  for (int i = 0; i < block.kElements; ++i) out[i] = d * static_cast<float>(q[i]) + m;
}

template <class Block>
void encode_super(const Samples& s, Block& block) {
  if constexpr (Block::kBits == 6)
    pack(search_super_block(s, kSubBlock<Block>, {-32, 31}, {-128, 127}, {0, 0}), block);
  else
    pack(search_super_block(s, kSubBlock<Block>, {0, (1 << Block::kBits) - 1}, {0, 63}, {0, 63}),
         block);
}
// d scale q and dmin min have at most 24 bits, so only the difference is rounded, fused or not.
template <class Block>
void decode_super(const Block& block, float* out) {
  const SuperBlock code = unpack(block);
  const float d = from_f16(code.d), dmin = from_f16(code.dmin);
  for (int i = 0; i < block.kElements; ++i) {
    const int s = i / kSubBlock<Block>;
    out[i] = d * code.scale[s] * code.q[i] - dmin * code.min[s];
  }
}
void encode_block(const Samples& s, BlockQ4_K& block) { encode_super(s, block); }
void encode_block(const Samples& s, BlockQ5_K& block) { encode_super(s, block); }
void encode_block(const Samples& s, BlockQ6_K& block) { encode_super(s, block); }
void decode_block(const BlockQ4_K& block, float* out) { decode_super(block, out); }
void decode_block(const BlockQ5_K& block, float* out) { decode_super(block, out); }
void decode_block(const BlockQ6_K& block, float* out) { decode_super(block, out); }

// ---- Rows ---------------------------------------------------------------------------------------

/// `count` values of a row in a block of `size`, clipped, with zeros of no weight behind them.
void fill_samples(const float* x, int count, int size, float* values, float* weights) {
  double squares = 0;
  for (int i = 0; i < size; ++i) {
    values[i] = i < count ? std::max(-kLargestHalf, std::min(kLargestHalf, x[i])) : 0;
    squares += static_cast<double>(values[i]) * values[i];
  }
  const auto typical = static_cast<float>(std::sqrt(squares / count));
  for (int i = 0; i < size; ++i) weights[i] = i < count ? typical + std::abs(values[i]) : 0;
}

template <class Block>
void encode_blocks(const float* x, int64_t cols, std::byte* out) {
  float values[kLargestBlock], weights[kLargestBlock];
  for (int64_t i = 0; i < cols; i += Block::kElements, out += sizeof(Block)) {
    Samples samples = {x + i, nullptr, Block::kElements};
    if constexpr (Block::kElements > 1) {
      const auto count = static_cast<int>(std::min<int64_t>(Block::kElements, cols - i));
      fill_samples(x + i, count, Block::kElements, values, weights);
      samples = {values, weights, Block::kElements};
    }
    Block block;
    encode_block(samples, block);
    std::memcpy(out, &block, sizeof block);
  }
}

template <class Block>
void decode_blocks(const std::byte* row, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; i += Block::kElements, row += sizeof(Block)) {
    Block block;
    std::memcpy(&block, row, sizeof block);
    float values[Block::kElements];
    decode_block(block, values);
    std::copy_n(values, std::min<int64_t>(Block::kElements, cols - i), out + i);
  }
}

/// body(Block{}) for the block of a type.
template <class Body>
void with_block(ElementType type, const Body& body) {
  switch (type) {
    case ElementType::kF32:
      return body(BlockF32{});
    case ElementType::kF16:
      return body(BlockF16{});
    case ElementType::kBF16:
      return body(BlockBF16{});
    case ElementType::kQ8_0:
      return body(BlockQ8_0{});
    case ElementType::kQ4_0:
      return body(BlockQ4_0{});
    case ElementType::kQ5_0:
      return body(BlockQ5_0{});
    case ElementType::kQ5_1:
      return body(BlockQ5_1{});
    case ElementType::kQ4_K:
      return body(BlockQ4_K{});
    case ElementType::kQ5_K:
      return body(BlockQ5_K{});
    case ElementType::kQ6_K:
      return body(BlockQ6_K{});
    case ElementType::kI32:
      break;
  }
  AXL_CHECK(!"a type of floats");
}

}  // namespace

void encode_row(ElementType type, const float* x, int64_t cols, std::byte* out) {
  with_block(type, [&](auto block) { encode_blocks<decltype(block)>(x, cols, out); });
}

void decode_row(ElementType type, const std::byte* row, int64_t cols, float* out) {
  with_block(type, [&](auto block) { decode_blocks<decltype(block)>(row, cols, out); });
}

void encode_matrix(ElementType type, ConstMat x, std::byte* out) {
  AXL_CHECK(type != ElementType::kI32);  // here: loop bodies throw nothing
  const int64_t row_bytes = PackedMatrix{type, nullptr, x.rows, x.cols}.row_bytes();
  parallel_for(x.rows, [&](int64_t i) { encode_row(type, x.row(i), x.cols, out + i * row_bytes); });
}

}  // namespace axl
