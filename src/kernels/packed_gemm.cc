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
using detail::kManyRows;
using detail::PackedProducts;
using detail::PlainProduct;

// Reading this much for one row of x is worth waking other threads for.
constexpr int64_t kMinParallelBytes = 32 << 10;
constexpr int64_t kUnitRows = 16;  // whole panels
constexpr int64_t kLineBytes = 64;
// Enough for the GEMM to be at its best. What it gives may depend on which rows of W it gets, so
// threads never divide these.
constexpr int64_t kDecodedRows = 64;

bool is_plain(ElementType type) { return element_format(type).elements == 1; }

auto plain_product(const PackedProducts& set, ElementType type) {
  return type == ElementType::kBF16 ? set.bf16 : type == ElementType::kF16 ? set.f16 : set.f32;
}

const PackedProducts::Coded& coded_products(const PackedProducts& set, ElementType type) {
  AXL_CHECK(!is_plain(type) && packed_gemm_reads(type));
  return type == ElementType::kQ8_0 ? set.q8_0 : type == ElementType::kQ4_K ? set.q4_k : set.q6_k;
}

int64_t panels_in(int64_t rows, const PackedProducts& set) {
  return (rows + set.panel_rows - 1) / set.panel_rows;
}

/// Memory that a thread keeps from product to product.
template <class T>
T* room_for(Buffer& room, int64_t count) {
  if (room.bytes() < sizeof(T) * count) room = Buffer(sizeof(T) * count);
  return static_cast<T*>(room.data());
}

/// Rows of activations in 8 bits, in memory that the calling thread keeps from product to product.
const ActivationBlock* quantize(ConstMat x) {
  thread_local Buffer room;
  const int64_t blocks = (x.cols + ActivationBlock::kElements - 1) / ActivationBlock::kElements;
  auto* data = room_for<ActivationBlock>(room, blocks * x.rows);
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

// body(tile) for tiles that make up all runs of W, each of whole units of unit_of(run) rows: as
// many of them for each thread, or all on the calling thread alone.
template <class UnitOf, class Body>
void for_each_tile(std::span<const PackedMatrix> w, bool alone, const UnitOf& unit_of,
                   const Body& body) {
  const auto units_in = [&](const PackedMatrix& m) {
    return m.empty() ? 0 : (m.rows + unit_of(m) - 1) / unit_of(m);
  };
  int64_t all = 0;
  for (const PackedMatrix& m : w) all += units_in(m);
  const auto run_tiles = [&](int64_t begin, int64_t end) {
    int64_t units = 0, column = 0;  // of the runs before
    for (const PackedMatrix& m : w) {
      const int64_t own = units_in(m), unit = unit_of(m);
      const int64_t first = std::clamp<int64_t>(begin - units, 0, own) * unit;
      const int64_t last = std::clamp<int64_t>(end - units, 0, own) * unit;
      if (first < last) body(Tile{&m, first, std::min(m.rows, last), column + first});
      units += own;
      column += m.empty() ? 0 : m.rows;
    }
  };
  if (alone) return run_tiles(0, all);
  parallel_for_ranges(all, run_tiles);
}

void multiply_decoded(const Tile& t, ConstMat x, Mat y, Write write) {
  thread_local Buffer room;
  for (int64_t row = t.begin; row < t.end; row += kDecodedRows) {
    const int64_t rows = std::min(kDecodedRows, t.end - row);
    const Mat w(room_for<float>(room, rows * x.cols), rows, x.cols);
    for (int64_t i = 0; i < rows; ++i)
      detail::decode_plain_row(t.w->type, t.w->row(row + i), x.cols, w.row(i));
    gemm_serial(Trans::kNo, x, Trans::kYes, w, y.col_range(t.column + row - t.begin, rows), write);
  }
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

int64_t panel_bytes(const PackedMatrix& w) {
  if (w.empty() || is_plain(w.type)) return 0;
  const PackedProducts& set = detail::chosen_packed_products();
  const int64_t bytes = panels_in(w.rows, set) * coded_products(set, w.type).panel_bytes(w.cols);
  return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
}

void pack_panels(PackedMatrix& w, std::byte* to) {
  AXL_CHECK(panel_bytes(w) > 0);
  const PackedProducts& set = detail::chosen_packed_products();
  const PackedProducts::Coded& products = coded_products(set, w.type);
  const int64_t bytes = products.panel_bytes(w.cols);
  parallel_for(panels_in(w.rows, set), [&](int64_t i) {
    const int64_t row = i * set.panel_rows;
    products.pack(w.row(row), w.row_bytes(), w.rows - row, w.cols, to + i * bytes);
  });
  w.panels = to;
}

void packed_gemm(ConstMat x, std::span<const PackedMatrix> w, Mat y, Write write) {
  const ActivationBlock* quantized = nullptr;
  int64_t columns = 0, bytes = 0;
  for (const PackedMatrix& m : w) {
    if (m.empty()) continue;
    AXL_CHECK(m.cols == x.cols && packed_gemm_reads(m.type));
    columns += m.rows;
    bytes += m.bytes();
    if (is_plain(m.type)) continue;
    AXL_CHECK(m.panels);
    if (!quantized && x.rows > 0) quantized = quantize(x);
  }
  AXL_CHECK(x.rows == y.rows && columns == y.cols);
  if (x.rows == 0) return;
  const PackedProducts& set = detail::chosen_packed_products();
  const bool add = write == Write::kAdd, many = x.rows >= kManyRows;
  const bool alone = bytes * x.rows < kMinParallelBytes;
  const auto unit_of = [&](const PackedMatrix& m) {
    return many && is_plain(m.type) ? kDecodedRows : kUnitRows;
  };
  for_each_tile(w, alone, unit_of, [&](const Tile& t) {
    const PackedMatrix& m = *t.w;
    const int64_t rows = t.end - t.begin;
    float* out = y.data + t.column;
    if (!is_plain(m.type)) {
      const PackedProducts::Coded& products = coded_products(set, m.type);
      const std::byte* panels = m.panels + t.begin / set.panel_rows * products.panel_bytes(m.cols);
      products.multiply({panels, rows, m.cols, quantized, x.rows, out, y.stride, add});
    } else if (many) {
      multiply_decoded(t, x, y, write);
    } else {
      plain_product(set, m.type)(PlainProduct{m.row(t.begin), m.row_bytes(), rows, m.cols, x.data,
                                              x.stride, x.rows, out, y.stride, add});
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
