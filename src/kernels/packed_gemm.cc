#include "axl/kernels/packed_gemm.h"

#include <algorithm>
#include <string_view>

#include "axl/base/parallel.h"
#include "axl/kernels/isa.h"
#include "axl/kernels/row_blocks.h"
#include "axl/tensor/arena.h"
#include "axl/tensor/half.h"
#include "row_kernels.h"

namespace axl {
namespace {

using detail::ActivationBlock;
using detail::kManyRows;
using detail::PackedProducts;
using detail::PlainProduct;
using Runs = std::array<const PackedMatrix*, 3>;

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

/// Rows of activations as products read them: quantized where W is coded.
struct Rows {
  ConstMat x;
  const ActivationBlock* quantized;
};

bool any_coded(const PackedProduct& p) {
  return std::any_of(p.w.begin(), p.w.end(),
                     [](const PackedMatrix* m) { return m && !is_plain(m->type); });
}

/// f(x) of a product, in memory that the calling thread keeps until the next one.
Rows prepare(const PackedProduct& p, float eps) {
  thread_local Buffer room;
  Rows in{p.x, nullptr};
  if (p.gain) {
    const Mat normed(room_for<float>(room, p.x.size()), p.x.rows, p.x.cols);
    for (int64_t r = 0; r < p.x.rows; ++r) {
      const float* x = p.x.row(r);
      if (p.plus.data) {
        std::copy_n(x, p.x.cols, normed.row(r));
        row_kernels().add(p.plus.row(r), normed.row(r), p.x.cols);
        x = normed.row(r);
      }
      row_kernels().rms_norm(x, p.gain, eps, normed.row(r), p.x.cols);
    }
    in.x = normed;
  }
  if (any_coded(p)) in.quantized = quantize(in.x);
  return in;
}

/// Columns of y from `column` on, from rows [begin, end) of a run of W.
void multiply_rows(const PackedProduct& p, const PackedMatrix& m, int64_t begin, int64_t end,
                   int64_t column, const Rows& in) {
  const PackedProducts& set = detail::chosen_packed_products();
  const int64_t rows = end - begin;
  float* out = p.y.data + column;
  const bool add = p.write == Write::kAdd;
  if (is_plain(m.type))
    return plain_product(
        set, m.type)(PlainProduct{m.row(begin), m.row_bytes(), rows, m.cols, in.x.data, in.x.stride,
                                  in.x.rows, out, p.y.stride, add});
  const PackedProducts::Coded& products = coded_products(set, m.type);
  const std::byte* panels = m.panels + begin / set.panel_rows * products.panel_bytes(m.cols);
  products.multiply({panels, rows, m.cols, in.quantized, in.x.rows, out, p.y.stride, add});
}

int64_t units_in(const PackedMatrix& m, int64_t unit) { return (m.rows + unit - 1) / unit; }

/// body(run, begin, end, column) for the rows of W that are its units [first, last): the run they
/// are in, and the column of y that the first of them gives.
template <class UnitOf, class Body>
void for_each_run(const Runs& w, int64_t first, int64_t last, const UnitOf& unit_of,
                  const Body& body) {
  int64_t units = 0, column = 0;  // of the runs before
  for (const PackedMatrix* m : w) {
    if (!m) continue;
    const int64_t unit = unit_of(*m), own = units_in(*m, unit);
    const int64_t begin = std::clamp<int64_t>(first - units, 0, own) * unit;
    const int64_t end = std::clamp<int64_t>(last - units, 0, own) * unit;
    if (begin < end) body(*m, begin, std::min(m->rows, end), column + begin);
    units += own;
    column += m->rows;
  }
}

/// The same by the GEMM, for plain rows that many rows of x multiply.
void multiply_decoded(const PackedProduct& p, const PackedMatrix& m, int64_t begin, int64_t end,
                      int64_t column) {
  thread_local Buffer room;
  const ConstMat x = p.x;
  for (int64_t row = begin; row < end; row += kDecodedRows, column += kDecodedRows) {
    const int64_t rows = std::min(kDecodedRows, end - row);
    const Mat w(room_for<float>(room, rows * x.cols), rows, x.cols);
    for (int64_t i = 0; i < rows; ++i)
      detail::decode_plain_row(m.type, m.row(row + i), x.cols, w.row(i));
    gemm_serial(Trans::kNo, x, Trans::kYes, w, p.y.col_range(column, rows), p.write);
  }
}

void multiply_many(const PackedProduct& p) {
  const Rows in{p.x, any_coded(p) ? quantize(p.x) : nullptr};
  const auto unit_of = [](const PackedMatrix& m) {
    return is_plain(m.type) ? kDecodedRows : kUnitRows;
  };
  int64_t units = 0;
  for (const PackedMatrix* m : p.w) units += m ? units_in(*m, unit_of(*m)) : 0;
  parallel_for_ranges(units, [&](int64_t first, int64_t last) {
    for_each_run(p.w, first, last, unit_of,
                 [&](const PackedMatrix& m, int64_t begin, int64_t end, int64_t column) {
                   if (is_plain(m.type))
                     multiply_decoded(p, m, begin, end, column);
                   else
                     multiply_rows(p, m, begin, end, column, in);
                 });
  });
}

/// Units of a product that threads divide among themselves.
int64_t units_in(const PackedProduct& p) {
  if (p.act.data) return units_in(*p.w[0], kUnitRows);  // of gate and up alike
  int64_t units = 0;
  for (const PackedMatrix* m : p.w) units += m ? units_in(*m, kUnitRows) : 0;
  return units;
}

/// What a unit of W costs with so many rows of x, about: each after the first takes a seventh of
/// what reading the weights does; a tenth where they come from memory, up to a quarter where they
/// lie in a cache.
int64_t cost_of_unit(int64_t rows) { return rows == 0 ? 0 : 6 + rows; }

/// The columns of act that the units [first, last) of gate and of up give.
void multiply_gated(const PackedProduct& p, int64_t first, int64_t last, const Rows& in) {
  const int64_t width = p.act.cols, begin = first * kUnitRows,
                end = std::min(width, last * kUnitRows);
  multiply_rows(p, *p.w[0], begin, end, begin, in);
  multiply_rows(p, *p.w[1], begin, end, width + begin, in);
  for (int64_t r = 0; r < p.y.rows; ++r) {
    const float* gate = p.y.row(r) + begin;
    row_kernels().swiglu(gate, gate + width, p.act.row(r) + begin, end - begin);
  }
}

void multiply_units(const PackedProduct& p, int64_t first, int64_t last, float eps) {
  const Rows in = prepare(p, eps);
  if (p.act.data) return multiply_gated(p, first, last, in);
  for_each_run(
      p.w, first, last, [](const PackedMatrix&) { return kUnitRows; },
      [&](const PackedMatrix& m, int64_t begin, int64_t end, int64_t column) {
        multiply_rows(p, m, begin, end, column, in);
      });
}

/// Bytes of W that are read, times rows of x.
int64_t checked_work(const PackedProduct& p) {
  int64_t columns = 0, bytes = 0;
  for (const PackedMatrix* m : p.w) {
    if (!m) continue;
    AXL_CHECK(m->cols == p.x.cols && packed_gemm_reads(m->type));
    AXL_CHECK(is_plain(m->type) || m->panels);
    columns += m->rows;
    bytes += m->bytes();
  }
  AXL_CHECK(p.x.rows == p.y.rows && columns == p.y.cols);
  AXL_CHECK(!p.act.data || (p.w[0]->rows == p.act.cols && p.w[1]->rows == p.act.cols));
  return bytes * p.x.rows;
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
  PackedProduct p{.x = x, .y = y, .write = write};
  size_t runs = 0;
  for (const PackedMatrix& m : w) {
    if (m.empty()) continue;
    AXL_CHECK(runs < p.w.size());
    p.w[runs++] = &m;
  }
  if (x.rows < kManyRows) {
    const auto itself = [](const void* of, int64_t) {
      return *static_cast<const PackedProduct*>(of);
    };
    return packed_gemm({1, &p, itself}, 0);
  }
  checked_work(p);
  multiply_many(p);
}

void packed_gemm(PackedProductList products, float eps) {
  int64_t all = 0, work = 0;
  for (int64_t i = 0; i < products.count; ++i) {
    const PackedProduct p = products.at(products.of, i);
    AXL_CHECK(p.x.rows < kManyRows);
    work += checked_work(p);
    all += units_in(p) * cost_of_unit(p.x.rows);
  }
  const auto run = [products, eps](int64_t begin, int64_t end) {
    int64_t before = 0;  // the cost of the products before
    for (int64_t i = 0; i < products.count; ++i) {
      const PackedProduct p = products.at(products.of, i);
      const int64_t cost = cost_of_unit(p.x.rows), own = units_in(p) * cost;
      if (own == 0) continue;
      const int64_t first = (std::clamp<int64_t>(begin - before, 0, own) + cost - 1) / cost;
      const int64_t last = (std::clamp<int64_t>(end - before, 0, own) + cost - 1) / cost;
      if (first < last) multiply_units(p, first, last, eps);
      before += own;
    }
  };
  static_assert(detail::kIsSmall<decltype(run)>);
  if (work < kMinParallelBytes) return run(0, all);
  parallel_for_ranges(all, run);
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
