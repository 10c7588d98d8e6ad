#include "axl/kernels/gemm.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "axl/base/parallel.h"
#include "axl/kernels/elementwise.h"
#include "axl/tensor/arena.h"
#include "copied_rows.h"
#include "row_kernels.h"

namespace axl {
namespace {

// A tile of this many FLOPs takes some 20 µs, against a part of one to hand it to a thread; with
// few rows as long for an eighth of them, since the weights are the cost.
constexpr double kMinTileFlops = 4e6, kMinTileFlopsOfFew = 5e5;
constexpr int64_t kFewRows = 64;
// Numbers of tiles that divide evenly among 2, 3, 4, 6, 8 and 12 threads.
constexpr std::array<int64_t, 6> kTileCounts = {24, 12, 8, 4, 2, 1};
constexpr int64_t kTileMultiple = 16;  // rows and columns that one register block covers
// Where there are most tiles, every fourth is taken in two pieces: threads of up to six cores come
// to theirs last, and at the end nobody waits for a whole tile of another's. Smaller tiles than
// these would cost more than is waited for.
constexpr int64_t kTilesOfRun = 4, kMinSplitTile = 1 << 16;

// A sum of many terms into a small C is made in two halves. For a gradient of weights: the threads
// of each then read only that half of the rows, much of which they have written themselves and may
// still have in a cache. For a product with few rows: its tiles would be so small otherwise that
// packing A and B for each takes a quarter of the time. With fewer terms, writing a second C and
// adding it costs too much.
constexpr int64_t kMostRowsInHalves = 1024;
constexpr double kMinOperandsPerC = 4;
// Both halves of a gradient go some rows at a time, over all tiles, so that these find what others
// have read in a cache. With fewer rows than have so many elements in A and B for one of C, C
// itself would be most of what is read.
constexpr double kOperandsPerCAtOnce = 2;
constexpr int64_t kMinTermsAtOnce = 128;  // fewer are not worth a loop over threads

// B of a product whose C is narrow is first copied, as rows of op(B). Otherwise each tile packs its
// part where it lies, which is slow: transposed, or from rows that share few sets of a cache. Of a
// wider C there are more columns to pack at once. On two Cascade Lake cores, GFLOP/s without and
// with the copy, of 190 to 250 for square matrices: x · Wᵀ of 2048 x 256 x 256 162 and 201, of 3072
// x 512 x 1376 138 and 184, of 3072 x 1024 x 512 176 and 172; x · W of 3072 x 512 x 2752 147 and
// 169. With fewer rows it pays by AVX-512 alone: x · Wᵀ of 128 x 512 x 512 99 and 147, by AVX2 122
// and 109.
constexpr int64_t kMinRowsForCopy = 256, kMinRowsForCopyByAvx512 = 64, kMostColumnsForCopy = 768;
constexpr int64_t kConflictingFloats = 512;
constexpr int64_t kRowsOfCopy = 64;  // of B, on a thread at once

struct Grid {
  int64_t rows, cols;
  int64_t count() const { return rows * cols; }
};

int64_t tile_edge(int64_t i, int64_t tiles, int64_t extent) {
  if (i == tiles) return extent;
  return std::min(extent, i * extent / tiles / kTileMultiple * kTileMultiple);
}

/// C = alpha · op(A) · op(B), or C += …: a product, or a part of one.
struct Product {
  Trans ta;
  ConstMat a;
  Trans tb;
  ConstMat b;
  Mat c;
  Write write;
  float alpha;
  bool b_is_copy = false;

  int64_t depth() const { return ta == Trans::kNo ? a.cols : a.rows; }

  /// Tile i of C.
  Product tile(Grid grid, int64_t i) const {
    const int64_t r = i / grid.cols, q = i % grid.cols;
    const int64_t r0 = tile_edge(r, grid.rows, c.rows), q0 = tile_edge(q, grid.cols, c.cols);
    const int64_t rows = tile_edge(r + 1, grid.rows, c.rows) - r0;
    const int64_t cols = tile_edge(q + 1, grid.cols, c.cols) - q0;
    Product p = row_range(r0, rows);
    p.b = tb == Trans::kNo ? b.col_range(q0, cols) : b.row_range(q0, cols);
    p.c = p.c.col_range(q0, cols);
    return p;
  }

  /// Rows [begin, begin + count) of C.
  Product row_range(int64_t begin, int64_t count) const {
    Product p = *this;
    p.a = ta == Trans::kNo ? a.row_range(begin, count) : a.col_range(begin, count);
    p.c = c.row_range(begin, count);
    return p;
  }

  /// Part i of `parts`, of as many terms of each sum; all but the first are added to C.
  Product part(int64_t i, int64_t parts) const {
    const int64_t begin = i * depth() / parts, count = (i + 1) * depth() / parts - begin;
    Product p = *this;
    p.a = ta == Trans::kNo ? a.col_range(begin, count) : a.row_range(begin, count);
    p.b = tb == Trans::kNo ? b.row_range(begin, count) : b.col_range(begin, count);
    if (i > 0) p.write = Write::kAdd;
    return p;
  }

  void multiply() const { gemm_serial(ta, a, tb, b, c, write, alpha); }
};

// The grid of `count` tiles of which each has least to read: rows of op(A) and columns of op(B).
// A row of Aᵀ counts twice, since the tile transposes it first; a column of a copy, which is in a
// cache, a quarter.
Grid best_grid(const Product& p, int64_t count) {
  const int64_t m = p.c.rows, n = p.c.cols;
  const double row_cost = p.ta == Trans::kYes ? 2 : 1, column_cost = p.b_is_copy ? 0.25 : 1;
  Grid best{1, 1};
  double best_cost = 1e300;
  for (int64_t rows = 1; rows <= count; ++rows) {
    if (count % rows) continue;
    const int64_t cols = count / rows;
    if (rows > 1 && m / rows < kTileMultiple) continue;
    if (cols > 1 && n / cols < kTileMultiple) continue;
    const double cost = row_cost * m / rows + column_cost * n / cols;
    if (cost < best_cost) best = {rows, cols}, best_cost = cost;
  }
  return best;
}

// Depends on the shape alone: thread counts must not change results.
Grid tile_grid(const Product& p, int64_t most = kTileCounts.front()) {
  const double flops = 2.0 * p.c.rows * p.c.cols * p.depth();
  const double least = p.c.rows < kFewRows ? kMinTileFlopsOfFew : kMinTileFlops;
  for (int64_t count : kTileCounts) {
    if (count > most || (flops / count < least && count > 1)) continue;
    const Grid grid = best_grid(p, count);
    if (grid.count() == count) return grid;
  }
  return {1, 1};
}

/// What threads take of `tiles` tiles one after the other: tiles, or halves of some.
class Pieces {
 public:
  Pieces(int64_t tiles, bool worth_splitting)
      : tiles_(tiles),
        halves_(worth_splitting && tiles == kTileCounts.front() ? tiles / kTilesOfRun : 0) {}
  int64_t count() const { return tiles_ + halves_; }

  /// Multiplies piece i; product(tile) is the one that makes a tile.
  template <class TileProduct>
  void multiply(int64_t i, const TileProduct& product) const {
    if (halves_ == 0) return product(i).multiply();
    const int64_t run = i / (kTilesOfRun + 1), place = i % (kTilesOfRun + 1);
    const Product p = product(run * kTilesOfRun + std::min(place, kTilesOfRun - 1));
    if (place < kTilesOfRun - 1) return p.multiply();
    const int64_t upper = p.c.rows / 2 / kTileMultiple * kTileMultiple;
    if (place == kTilesOfRun - 1) return p.row_range(0, upper).multiply();
    p.row_range(upper, p.c.rows - upper).multiply();
  }

 private:
  int64_t tiles_, halves_;
};

int64_t min_rows_for_copy() {
  static const bool by_avx512 = std::string_view(detail::backend_isa()).starts_with("avx512");
  return by_avx512 ? kMinRowsForCopyByAvx512 : kMinRowsForCopy;
}

bool needs_copy_of_b(const Product& p) {
  return p.ta == Trans::kNo && p.c.rows >= min_rows_for_copy() && p.c.cols <= kMostColumnsForCopy &&
         (p.tb == Trans::kYes || p.b.stride % kConflictingFloats == 0);
}

/// The same product of a copy of B.
Product with_copy_of_b(const Product& p) {
  thread_local Buffer room;
  const Mat copied = copied_rows(room, p.depth(), p.c.cols);
  parallel_for((p.b.rows + kRowsOfCopy - 1) / kRowsOfCopy, [&](int64_t i) {
    const int64_t begin = i * kRowsOfCopy, count = std::min(kRowsOfCopy, p.b.rows - begin);
    if (p.tb == Trans::kYes)
      row_kernels().blocks->transpose(p.b.row(begin), p.b.stride, count, p.b.cols,
                                      copied.data + begin, copied.stride);
    else
      copy(p.b.row_range(begin, count), copied.row_range(begin, count));
  });
  Product q = p;
  q.tb = Trans::kNo;
  q.b = copied;
  q.b_is_copy = true;
  return q;
}

void check_shapes(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c) {
  AXL_CHECK((ta == Trans::kNo ? a.rows : a.cols) == c.rows);
  AXL_CHECK((tb == Trans::kNo ? b.cols : b.rows) == c.cols);
  AXL_CHECK((ta == Trans::kNo ? a.cols : a.rows) == (tb == Trans::kNo ? b.rows : b.cols));
}

// Reads the rows of W from front to back, as fast as memory gives them. For few rows of x the
// library reads it in small pieces of many rows, which from memory takes three to four times as
// long (one Zen 4 core, 8 rows of x: 8 to 12 GB/s against 35).
void fetch(ConstMat w) {
  constexpr int64_t kLineFloats = 16;
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t k = 0; k < w.cols; k += kLineFloats) asm volatile("" : : "x"(w.row(r)[k]));
}

void assign_zero(Mat c) {
  for (int64_t i = 0; i < c.rows; ++i) std::fill_n(c.row(i), c.cols, 0.0f);
}

bool has_few_rows(Trans ta, Trans tb, Mat c, float alpha) {
  return ta == Trans::kNo && tb == Trans::kYes && c.rows <= detail::few_rows() && alpha == 1.0f;
}

void multiply_in_tiles(const Product& p) {
  const Grid grid = tile_grid(p);
  const bool few = p.c.rows < kFewRows && p.ta == Trans::kNo && p.tb == Trans::kYes;
  const Pieces pieces(grid.count(), !few && p.c.rows * p.c.cols >= grid.count() * kMinSplitTile);
  parallel_for_dynamic(pieces.count(), [&](int64_t i) {
    pieces.multiply(i, [&](int64_t tile) {
      const Product t = p.tile(grid, tile);
      if (few) fetch(t.b);
      return t;
    });
  });
}

/// Elements of A and B for one of C.
double operands_per_c(const Product& p) {
  const double m = p.c.rows, n = p.c.cols;
  return (m + n) * p.depth() / (m * n);
}

bool is_gradient_of_weights(const Product& p) { return p.ta == Trans::kYes && p.tb == Trans::kNo; }

bool is_summed_in_halves(const Product& p) {
  const double m = p.c.rows, n = p.c.cols, k = p.depth();
  const bool some_rows = p.c.rows >= kFewRows && p.c.rows <= kMostRowsInHalves;
  return (is_gradient_of_weights(p) || some_rows) &&
         2 * m * n * k >= kTileCounts.front() * kMinTileFlops &&
         operands_per_c(p) >= kMinOperandsPerC;
}

void multiply_in_halves(const Product& p) {
  thread_local Buffer room;
  const size_t bytes = sizeof(float) * p.c.rows * p.c.cols;
  if (room.bytes() < bytes) room = Buffer(bytes);
  const Product first = p.part(0, 2);
  Product second = p.part(1, 2);
  second.c = Mat(room.floats(), p.c.rows, p.c.cols, p.c.cols);
  second.write = Write::kAssign;
  const Grid grid = tile_grid(first, kTileCounts.front() / 2);
  const bool gradient = is_gradient_of_weights(p);
  int64_t parts = 1;
  if (gradient)
    parts = std::clamp<int64_t>(operands_per_c(p) / kOperandsPerCAtOnce, 1,
                                std::max<int64_t>(1, first.depth() / kMinTermsAtOnce));
  const Pieces pieces(2 * grid.count(), gradient);
  for (int64_t part = 0; part < parts; ++part) {
    parallel_for_dynamic(pieces.count(), [&](int64_t i) {
      pieces.multiply(i, [&](int64_t tile) {
        const Product& half = tile < grid.count() ? first : second;
        return half.part(part, parts).tile(grid, tile % grid.count());
      });
    });
  }
  add(second.c, p.c);
}

}  // namespace

const char* precision_name(Precision precision) {
  return precision == Precision::kBf16 ? "bf16" : "f32";
}

bool has_bf16() {
  const bool hidden = &row_kernels() != &kAvx512RowKernels || detail::backend_hides_bf16();
  return detail::cpu_has_bf16() && !hidden;
}

bool prefers_bf16() { return has_bf16() && detail::cpu_prefers_bf16(); }

const char* gemm_isa(Precision precision) {
  return precision == Precision::kBf16 ? detail::bf16_isa() : detail::backend_isa();
}

void gemm_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha,
                 Precision precision) {
  check_shapes(ta, a, tb, b, c);
  if (c.empty()) return;
  const int64_t k = ta == Trans::kNo ? a.cols : a.rows;
  if (k == 0) return write == Write::kAssign ? assign_zero(c) : void();
  const SerialSection on_this_thread;  // threads of the library's own would sum in another order
  if (precision == Precision::kBf16) return detail::gemm_bf16(ta, a, tb, b, c, write, alpha);
  if (has_few_rows(ta, tb, c, alpha)) return detail::gemm_few_rows(a, b, c, write);
  detail::gemm_backend_serial(ta, a, tb, b, c, write, alpha);
}

void gemm(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha,
          Precision precision) {
  check_shapes(ta, a, tb, b, c);
  if (c.empty()) return;
  const int64_t k = ta == Trans::kNo ? a.cols : a.rows;
  if (precision == Precision::kBf16 && k > 0)
    return detail::gemm_bf16(ta, a, tb, b, c, write, alpha);
  if (has_few_rows(ta, tb, c, alpha) && k > 0) {
    // Reading the weights is the cost: 64 KiB of them are worth a thread.
    const int64_t rows = std::max<int64_t>(8, (int64_t{64} << 10) / (4 * k) / 8 * 8);
    const int64_t blocks = (b.rows + rows - 1) / rows;
    parallel_for(blocks, [&](int64_t i) {
      const int64_t begin = i * rows, count = std::min(rows, b.rows - begin);
      detail::gemm_few_rows(a, b.row_range(begin, count), c.col_range(begin, count), write);
    });
    return;
  }
  Product product{ta, a, tb, b, c, write, alpha};
  if (needs_copy_of_b(product)) product = with_copy_of_b(product);
  if (is_summed_in_halves(product)) return multiply_in_halves(product);
  multiply_in_tiles(product);
}

}  // namespace axl
