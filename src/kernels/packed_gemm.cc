#include "axl/kernels/packed_gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "axl/base/parallel.h"
#include "axl/kernels/isa.h"
#include "axl/kernels/row_blocks.h"
#include "axl/tensor/arena.h"
#include "axl/tensor/half.h"

namespace axl {
namespace detail {

void quantize_activations(const float* x, int64_t cols, ActivationBlock* out) {
  for (int64_t k = 0; k < cols; k += 32) {
    ActivationBlock& to = out[k / ActivationBlock::kElements];
    const int64_t b = k % ActivationBlock::kElements / 32, count = std::min<int64_t>(32, cols - k);
    float block[32] = {};
    std::memcpy(block, x + k, sizeof(float) * count);
    float top = 0;
    for (float v : block) top = std::max(top, std::abs(v));
    const float scale = top / 127.0f, inverse = top > 0 ? 127.0f / top : 0.0f;
    int8_t* q = to.q + 32 * b;
    for (int64_t i = 0; i < 32; ++i) q[i] = static_cast<int8_t>(std::nearbyint(block[i] * inverse));
    int32_t all = 0;
    for (int64_t i = 0; i < 8; ++i) {
      const int32_t sum = q[4 * i] + q[4 * i + 1] + q[4 * i + 2] + q[4 * i + 3];
      to.offset[8 * b + i] = -128 * sum;
      all += sum;
    }
    to.scale[b] = scale;
    to.sum[b] = scale * all;
  }
  // Coded rows are whole blocks: what they are padded with meets zeros.
  const int64_t end = (cols + 31) / 32, padded = (end + 7) / 8 * 8;
  for (int64_t b = end; b < padded; ++b) {
    ActivationBlock& to = out[b / 8];
    std::memset(to.q + b % 8 * 32, 0, 32);
    std::memset(to.offset + b % 8 * 8, 0, 32);
    to.scale[b % 8] = to.sum[b % 8] = 0;
  }
}

}  // namespace detail

namespace {

using detail::ActivationBlock;
using detail::PackedDots;

// Reading this much is worth handing to a thread.
constexpr int64_t kTileBytes = 16 << 10;

bool is_plain(ElementType type) { return element_format(type).elements == 1; }

const PackedDots& dots() {
  return std::string_view(kernel_isa()) == "avx2" ? detail::packed_dots().front()
                                                  : detail::packed_dots().back();
}

auto plain_dot(const PackedDots& set, ElementType type) {
  return type == ElementType::kBF16 ? set.bf16 : type == ElementType::kF16 ? set.f16 : set.f32;
}

auto block_dot(const PackedDots& set, ElementType type) {
  return type == ElementType::kQ8_0 ? set.q8_0 : type == ElementType::kQ4_K ? set.q4_k : set.q6_k;
}

/// Rows of activations in 8 bits, in memory that the calling thread keeps from product to product.
struct QuantizedRows {
  const ActivationBlock* data;
  int64_t blocks;  ///< of a row
  const ActivationBlock* row(int64_t r) const { return data + r * blocks; }
};

QuantizedRows quantize(ConstMat x) {
  thread_local Buffer room;
  const int64_t blocks = (x.cols + ActivationBlock::kElements - 1) / ActivationBlock::kElements;
  const size_t bytes = sizeof(ActivationBlock) * blocks * x.rows;
  if (room.bytes() < bytes) room = Buffer(bytes);
  auto* data = static_cast<ActivationBlock*>(room.data());
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      detail::quantize_activations(x.row(r), x.cols, data + r * blocks);
  });
  return {data, blocks};
}

/// Some rows of one run of W, and the column of y that the first of them gives.
struct Tile {
  const PackedMatrix* w;
  int64_t begin, end, column;
};

// body(tile) for every tile of all runs, on all threads.
template <class Body>
void for_each_tile(std::span<const PackedMatrix> w, const Body& body) {
  const auto rows_of = [](const PackedMatrix& m) {
    return std::max<int64_t>(1, kTileBytes / m.row_bytes());
  };
  int64_t tiles = 0;
  for (const PackedMatrix& m : w)
    if (!m.empty()) tiles += (m.rows + rows_of(m) - 1) / rows_of(m);
  parallel_for(tiles, [&](int64_t tile) {
    int64_t column = 0;
    for (const PackedMatrix& m : w) {
      if (m.empty()) continue;
      const int64_t rows = rows_of(m), own = (m.rows + rows - 1) / rows;
      if (tile < own) {
        const int64_t begin = tile * rows;
        return body(Tile{&m, begin, std::min(m.rows, begin + rows), column + begin});
      }
      tile -= own;
      column += m.rows;
    }
  });
}

}  // namespace

const char* packed_gemm_isa() { return dots().isa; }

bool packed_gemm_reads(ElementType type) {
  switch (type) {
    case ElementType::kF32:
    case ElementType::kF16:
    case ElementType::kBF16:
    case ElementType::kQ8_0:
    case ElementType::kQ4_K:
    case ElementType::kQ6_K:
      return true;
    default:
      return false;
  }
}

void packed_gemm(ConstMat x, std::span<const PackedMatrix> w, Mat y, Write write) {
  QuantizedRows quantized{};
  int64_t columns = 0;
  for (const PackedMatrix& m : w) {
    if (m.empty()) continue;
    AXL_CHECK(m.cols == x.cols && packed_gemm_reads(m.type));
    columns += m.rows;
    if (!is_plain(m.type) && !quantized.data && x.rows > 0) quantized = quantize(x);
  }
  AXL_CHECK(x.rows == y.rows && columns == y.cols);
  const PackedDots& set = dots();
  for_each_tile(w, [&](const Tile& t) {
    const bool plain = is_plain(t.w->type);
    const auto plainly = plain_dot(set, t.w->type);
    const auto in_blocks = block_dot(set, t.w->type);
    for (int64_t n = t.begin; n < t.end; ++n) {
      const std::byte* row = t.w->row(n);
      for (int64_t r = 0; r < x.rows; ++r) {
        const float dot =
            plain ? plainly(row, x.row(r), x.cols) : in_blocks(row, quantized.row(r), x.cols);
        float& out = y(r, t.column + n - t.begin);
        out = write == Write::kAdd ? out + dot : dot;
      }
    }
  });
}

void gather_add_packed_rows(const PackedMatrix& table, std::span<const int32_t> ids, Mat out) {
  AXL_CHECK(table.type == ElementType::kBF16 && table.cols == out.cols);
  for_row_blocks(out.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (ids[r] < 0) continue;
      const auto* from = reinterpret_cast<const uint16_t*>(table.row(ids[r]));
      float* to = out.row(r);
      for (int64_t i = 0; i < table.cols; ++i) to[i] += from_bf16(from[i]);
    }
  });
}

}  // namespace axl
