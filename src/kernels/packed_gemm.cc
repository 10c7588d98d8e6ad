#include "axl/kernels/packed_gemm.h"

#include <algorithm>
#include <string_view>

#include "axl/base/parallel.h"
#include "axl/kernels/isa.h"
#include "axl/kernels/row_blocks.h"
#include "axl/tensor/arena.h"
#include "axl/tensor/half.h"

namespace axl {
namespace {

using detail::ActivationBlock;
using detail::CodedProduct;
using detail::kManyRows;
using detail::PackedProducts;
using detail::PlainProduct;

// Reading this much is worth handing to a thread; with many rows of x, less of it is.
constexpr int64_t kTileBytes = 16 << 10, kTileBytesOfMany = 4 << 10;
constexpr int64_t kTileMultiple = 16;  // rows that one panel covers

bool is_plain(ElementType type) { return element_format(type).elements == 1; }

auto plain_product(const PackedProducts& set, ElementType type) {
  return type == ElementType::kBF16 ? set.bf16 : type == ElementType::kF16 ? set.f16 : set.f32;
}

auto coded_product(const PackedProducts& set, ElementType type, int64_t x_rows) {
  const PackedProducts::Coded& of = type == ElementType::kQ8_0   ? set.q8_0
                                    : type == ElementType::kQ4_K ? set.q4_k
                                                                 : set.q6_k;
  return x_rows < kManyRows ? of.few : of.many;
}

/// Rows of activations in 8 bits, in memory that the calling thread keeps from product to product.
const ActivationBlock* quantize(ConstMat x) {
  thread_local Buffer room;
  const int64_t blocks = (x.cols + ActivationBlock::kElements - 1) / ActivationBlock::kElements;
  const size_t bytes = sizeof(ActivationBlock) * blocks * x.rows;
  if (room.bytes() < bytes) room = Buffer(bytes);
  auto* data = static_cast<ActivationBlock*>(room.data());
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      detail::quantize_activations(x.row(r), x.cols, data + r * blocks);
  });
  return data;
}

/// Some rows of one run of W, and the column of y that the first of them gives.
struct Tile {
  const PackedMatrix* w;
  int64_t begin, end, column;
};

// body(tile) for every tile of all runs, on all threads.
template <class Body>
void for_each_tile(std::span<const PackedMatrix> w, int64_t tile_bytes, const Body& body) {
  const auto rows_of = [&](const PackedMatrix& m) {
    return std::max(kTileMultiple, tile_bytes / m.row_bytes() / kTileMultiple * kTileMultiple);
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

const detail::PackedProducts& detail::chosen_packed_products() {
  return std::string_view(kernel_isa()) == "avx2" ? packed_products().front()
                                                  : packed_products().back();
}

const char* packed_gemm_isa() { return detail::chosen_packed_products().isa; }

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
  const ActivationBlock* quantized = nullptr;
  int64_t columns = 0;
  for (const PackedMatrix& m : w) {
    if (m.empty()) continue;
    AXL_CHECK(m.cols == x.cols && packed_gemm_reads(m.type));
    columns += m.rows;
    if (!is_plain(m.type) && !quantized && x.rows > 0) quantized = quantize(x);
  }
  AXL_CHECK(x.rows == y.rows && columns == y.cols);
  if (x.rows == 0) return;
  const PackedProducts& set = detail::chosen_packed_products();
  const int64_t tile_bytes = x.rows < kManyRows ? kTileBytes : kTileBytesOfMany;
  for_each_tile(w, tile_bytes, [&](const Tile& t) {
    const std::byte* first = t.w->row(t.begin);
    const int64_t row_bytes = t.w->row_bytes(), rows = t.end - t.begin;
    float* out = y.data + t.column;
    const bool add = write == Write::kAdd;
    if (is_plain(t.w->type))
      plain_product(set, t.w->type)(PlainProduct{first, row_bytes, rows, x.cols, x.data, x.stride,
                                                 x.rows, out, y.stride, add});
    else
      coded_product(set, t.w->type, x.rows)(
          CodedProduct{first, row_bytes, rows, x.cols, quantized, x.rows, out, y.stride, add});
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
