#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "axl/kernels/bf16_operand.h"
#include "isa_choice.h"
#include "tile_unit.h"

// Operands are rounded to bf16 while they are packed, in pairs of neighbours along k, which is what
// VDPBF16PS multiplies: acc[j] += a.low · b[j].low + a.high · b[j].high for 16 columns j at once.
// B is packed whole, once; each block of rows of A by the thread that multiplies it. AMX multiplies
// the same pairs, tile by tile.
//
// oneDNN multiplies operands that are bf16 already 5 to 15 % faster, but ours are f32: it would
// want buffers for the converted operands and a primitive for every shape.

// What Precision::kBf16 needs of the CPU, whatever the rest is compiled for.
#define AXL_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace axl::detail {
namespace {

using Pair = Bf16Pair;

// One register tile: 24 sums, two registers of B and one of A.
constexpr int64_t kRows = 12, kCols = 32, kLanes = 16;
// What AMX makes together.
constexpr int64_t kAmxRows = 32;
// Pairs of k that a tile sums before it adds to C: a panel of B, 24 KiB, stays in the L1 cache.
constexpr int64_t kMaxPairs = 192;
constexpr int64_t kMaxBlockRows = 8 * kRows;
static_assert(kMaxBlockRows % kAmxRows == 0);
// Packing so many pairs of B takes about 10 µs, and waking other threads nearly as long.
constexpr int64_t kMinParallelPairs = 1 << 17;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

__mmask16 lanes(int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

// 32 floats from p on, as pairs; zero beyond the first `count`.
AXL_AVX512_BF16 inline __m512i neighbours(const float* p, int64_t count) {
  const __m512 low = _mm512_maskz_loadu_ps(lanes(count), p);
  const __m512 high = _mm512_maskz_loadu_ps(lanes(count - kLanes), p + kLanes);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// Pairs (even[i], odd[i]); odd may be null for zeros.
AXL_AVX512_BF16 inline __m512i interleaved(const float* even, const float* odd, __mmask16 mask) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512 low = _mm512_maskz_loadu_ps(mask, even);
  const __m512 high = odd ? _mm512_maskz_loadu_ps(mask, odd) : _mm512_setzero_ps();
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// Transposes 16 x 16 pairs: stage by stage swaps the off-diagonal halves of blocks of 2, 4, 8, 16.
AXL_AVX512_BF16 inline void transpose(__m512i (&v)[kLanes]) {
  for (int half = 1; half < kLanes; half *= 2) {
    alignas(64) int32_t first[kLanes], second[kLanes];
    for (int j = 0; j < kLanes; ++j) {
      first[j] = j & half ? kLanes + j - half : j;
      second[j] = j & half ? kLanes + j : j + half;
    }
    const __m512i take_first = _mm512_load_si512(first), take_second = _mm512_load_si512(second);
    for (int i = 0; i < kLanes; ++i) {
      if (i & half) continue;
      const __m512i a = v[i], b = v[i + half];
      v[i] = _mm512_permutex2var_epi32(a, take_first, b);
      v[i + half] = _mm512_permutex2var_epi32(a, take_second, b);
    }
  }
}

/// Whether AMX multiplies, which AXL_ISA cannot name.
bool by_amx() {
  static const bool may = !wanted_isa();
  return may && Amx::available();
}

// Columns [begin, …) of rows k and k + 1 of x, as pairs; zero beyond x.
AXL_AVX512_BF16 inline __m512i pairs_at(ConstMat x, int64_t k, int64_t begin) {
  if (k >= x.rows) return _mm512_setzero_si512();
  const float* even = x.row(k) + begin;
  return interleaved(even, k + 1 < x.rows ? even + x.stride : nullptr, lanes(x.cols - begin));
}

// out [pairs][width]: columns [begin, begin + width) of x [k, ·] for rows k in [k0, k0 + 2·pairs).
AXL_AVX512_BF16 void pack_columns(ConstMat x, int64_t k0, int64_t pairs, int64_t begin,
                                  int64_t width, Pair* out) {
  for (int64_t p = 0; p < pairs; ++p) {
    for (int64_t i = 0; i < width; i += kLanes) {
      const __mmask16 wanted = lanes(width - i);
      const __m512i v = pairs_at(x, k0 + 2 * p, begin + i);
      if (wanted == 0xffff)
        _mm512_storeu_si512(out + p * width + i, v);
      else
        _mm512_mask_storeu_epi32(out + p * width + i, wanted, v);
    }
  }
}

// The same for x [·, k]: rows [begin, begin + kCols).
AXL_AVX512_BF16 void pack_rows_transposed(ConstMat x, int64_t k0, int64_t pairs, int64_t begin,
                                          Pair* out) {
  for (int64_t i = 0; i < kCols; i += kLanes) {
    for (int64_t p = 0; p < pairs; p += kLanes) {
      __m512i v[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        const int64_t row = begin + i + j, k = k0 + 2 * p;
        v[j] = row < x.rows ? neighbours(x.row(row) + k, std::min(x.cols - k, 2 * (pairs - p)))
                            : _mm512_setzero_si512();
      }
      transpose(v);
      for (int64_t j = 0; j < kLanes; ++j) _mm512_store_si512(out + (p + j) * kCols + i, v[j]);
    }
  }
}

// out [rows][stride]: rows of x as they are.
AXL_AVX512_BF16 void pack_rows(ConstMat x, int64_t pairs, int64_t stride, Pair* out) {
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t p = 0; p < pairs; p += kLanes)
      _mm512_storeu_si512(out + r * stride + p, neighbours(x.row(r) + 2 * p, x.cols - 2 * p));
}

// out [columns, in whole 16][stride]: the columns of x as rows.
AXL_AVX512_BF16 void pack_columns_as_rows(ConstMat x, int64_t pairs, int64_t stride, Pair* out) {
  for (int64_t i = 0; i < x.cols; i += kLanes) {
    for (int64_t p = 0; p < pairs; p += kLanes) {
      __m512i v[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) v[j] = pairs_at(x, 2 * (p + j), i);
      transpose(v);
      for (int64_t j = 0; j < kLanes; ++j) _mm512_storeu_si512(out + (i + j) * stride + p, v[j]);
    }
  }
}

/// Where a tile of C goes.
struct Target {
  float* c;
  int64_t stride, rows, cols;
  float alpha;
  bool add;
};

AXL_AVX512_BF16 void store(const Target& t, int64_t row, int64_t begin, __m512 sum) {
  const __mmask16 mask = lanes(t.cols - begin);
  float* c = t.c + row * t.stride + begin;
  const __m512 old = t.add ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();
  const __m512 value = _mm512_fmadd_ps(_mm512_set1_ps(t.alpha), sum, old);
  if (mask == 0xffff) return _mm512_storeu_ps(c, value);
  _mm512_mask_storeu_ps(c, mask, value);
}

// C comes from beyond the caches while the sums are made: without asking early, a product of
// K = 256 waits 15 % of its time for it.
void ask_for(const Target& target) {
  for (int64_t r = 0; r < target.rows; ++r) {
    __builtin_prefetch(target.c + r * target.stride, 1);
    __builtin_prefetch(target.c + r * target.stride + kLanes, 1);
  }
}

// Pair p of row r of A stands at a[r · kRowStride + p · kPairStride]: constants, so that addresses
// cost no instructions.
template <int64_t kRowStride, int64_t kPairStride>
AXL_AVX512_BF16 void multiply_tile(const Pair* a, const Pair* b, int64_t pairs,
                                   const Target& target) {
  ask_for(target);
  __m512 sums[kRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh b0 = (__m512bh)_mm512_load_si512(b + p * kCols);
    const __m512bh b1 = (__m512bh)_mm512_load_si512(b + p * kCols + kLanes);
#pragma GCC unroll 12
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512bh ar = (__m512bh)_mm512_set1_epi32(a[r * kRowStride]);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], ar, b0);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], ar, b1);
    }
    a += kPairStride;
  }
#pragma GCC unroll 12
  for (int64_t r = 0; r < kRows; ++r) {
    if (r >= target.rows) break;
    store(target, r, 0, sums[r][0]);
    store(target, r, kLanes, sums[r][1]);
  }
}

AXL_AVX512_BF16 void multiply_tile_by_amx(const Pair* a, const Pair* b, int64_t pairs,
                                          const Target& target) {
  ask_for(target);
  alignas(64) float sums[kAmxRows * kCols];
  multiply_tiles<Amx>(a, kMaxPairs, b, pairs, sums);
  for (int64_t r = 0; r < target.rows; ++r) {
    store(target, r, 0, _mm512_load_ps(sums + r * kCols));
    store(target, r, kLanes, _mm512_load_ps(sums + r * kCols + kLanes));
  }
}

/// How K is cut: into equal blocks that depend on K alone, and so do the sums. Of whole registers:
/// what is beyond K is zero.
struct Depth {
  explicit Depth(int64_t k)
      : all_pairs(round_up((k + 1) / 2, kLanes)),
        blocks((all_pairs + kMaxPairs - 1) / kMaxPairs),
        block_pairs(round_up((all_pairs + blocks - 1) / blocks, kLanes)) {}
  int64_t pairs_of(int64_t block) const {
    return std::clamp<int64_t>(all_pairs - block * block_pairs, 0, block_pairs);
  }
  int64_t all_pairs, blocks, block_pairs;
};

/// op(B) [K, N] as panels of kCols columns, each [pairs][kCols].
struct PackedB {
  PackedB(int64_t k, int64_t n, void* room)
      : depth(k), panels((n + kCols - 1) / kCols), data(static_cast<Pair*>(room)) {}
  size_t bytes() const { return sizeof(Pair) * panels * kCols * depth.all_pairs; }
  Pair* at(int64_t panel, int64_t block) const {
    return data + (panel * depth.all_pairs + block * depth.block_pairs) * kCols;
  }
  Depth depth;
  int64_t panels;
  Pair* data;
};

PackedB packed(Trans tb, ConstMat b, Buffer& room) {
  PackedB to(tb == Trans::kNo ? b.rows : b.cols, tb == Trans::kNo ? b.cols : b.rows, nullptr);
  if (room.bytes() < to.bytes()) room = Buffer(to.bytes());
  to.data = static_cast<Pair*>(room.data());
  const auto pack = [&](int64_t i) {
    const int64_t block = i / to.panels, panel = i % to.panels;
    const int64_t k0 = 2 * block * to.depth.block_pairs, pairs = to.depth.pairs_of(block);
    if (tb == Trans::kNo)
      pack_columns(b, k0, pairs, panel * kCols, kCols, to.at(panel, block));
    else
      pack_rows_transposed(b, k0, pairs, panel * kCols, to.at(panel, block));
  };
  const int64_t count = to.panels * to.depth.blocks;
  if (to.bytes() >= sizeof(Pair) * kMinParallelPairs)
    parallel_for(count, pack);
  else
    for (int64_t i = 0; i < count; ++i) pack(i);
  return to;
}

/// Asks for the part of A that is packed next, some rows with each of `tiles` tiles: packing it
/// would wait for it otherwise, up to a tenth of a product's time.
class Ahead {
 public:
  Ahead(ConstMat next, int64_t tiles) : next_(next), tiles_(tiles) {}
  void one_tile() {
    for (const int64_t end = ++tile_ * next_.rows / tiles_; row_ < end; ++row_)
      for (int64_t i = 0; i < next_.cols; i += kLanes)
        __builtin_prefetch(next_.row(row_) + i, 0, 2);
  }

 private:
  ConstMat next_;
  int64_t tiles_, tile_ = 0, row_ = 0;
};

// The part of A, [M, K] or transposed, with rows [begin, begin + rows) of op(A) and a block of k.
ConstMat part_of(Trans ta, ConstMat a, int64_t begin, int64_t rows, const Depth& depth,
                 int64_t block) {
  if (block >= depth.blocks) return {};
  const int64_t k0 = 2 * block * depth.block_pairs, depth_left = ta == Trans::kNo ? a.cols : a.rows;
  const int64_t count = std::min(2 * depth.pairs_of(block), depth_left - k0);
  return ta == Trans::kNo ? a.row_range(begin, rows).col_range(k0, count)
                          : a.row_range(k0, count).col_range(begin, rows);
}

// `part` of op(A) as multiply_tile or AMX reads it, kMaxPairs to a row.
void pack_a(Trans ta, ConstMat part, int64_t rows, int64_t pairs, Pair* to) {
  if (ta == Trans::kNo) return pack_rows(part, pairs, kMaxPairs, to);
  if (by_amx()) return pack_columns_as_rows(part, pairs, kMaxPairs, to);
  for (int64_t r = 0; r < rows; r += kRows)
    pack_columns(part, 0, pairs, r, kRows, to + r * kMaxPairs);
}

// C = alpha · op(A) · B of at most kMaxBlockRows rows of op(A), [begin, begin + rows).
void multiply_rows(Trans ta, ConstMat a, int64_t begin, int64_t rows, const PackedB& b, Mat c,
                   bool add, float alpha) {
  alignas(64) thread_local Pair room[kMaxBlockRows * kMaxPairs];
  const int64_t step = by_amx() ? kAmxRows : kRows;
  if (by_amx()) Amx::begin();
  for (int64_t block = 0; block < b.depth.blocks; ++block) {
    const int64_t pairs = b.depth.pairs_of(block);
    pack_a(ta, part_of(ta, a, begin, rows, b.depth, block), rows, pairs, room);
    Ahead ahead(part_of(ta, a, begin, rows, b.depth, block + 1),
                b.panels * ((rows + step - 1) / step));
    for (int64_t col = 0; col < c.cols; col += kCols) {
      for (int64_t r = 0; r < rows; r += step) {
        ahead.one_tile();
        const Pair *tile = room + r * kMaxPairs, *panel = b.at(col / kCols, block);
        const int64_t tile_rows = std::min(step, rows - r);
        const Target target{c.row(begin + r) + col, c.stride, tile_rows,
                            c.cols - col,           alpha,    add || block > 0};
        if (by_amx())
          multiply_tile_by_amx(tile, panel, pairs, target);
        else if (ta == Trans::kNo)
          multiply_tile<kMaxPairs, 1>(tile, panel, pairs, target);
        else
          multiply_tile<1, kRows>(tile, panel, pairs, target);
      }
    }
  }
  if (by_amx()) Amx::end();
}

}  // namespace

bool cpu_has_bf16() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
}

bool cpu_prefers_bf16() { return by_amx() || __builtin_cpu_is("amd"); }

const char* bf16_isa() { return by_amx() ? "amx_bf16" : "avx512_bf16"; }

void gemm_bf16(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha) {
  thread_local Buffer room;
  const PackedB right = packed(tb, b, room);
  for_bf16_row_blocks(c.rows, [&](int64_t begin, int64_t count) {
    multiply_rows(ta, a, begin, count, right, c, write == Write::kAdd, alpha);
  });
}

}  // namespace axl::detail

namespace axl {

Bf16Operand::Bf16Operand(Trans tb, ConstMat b, Buffer& room)
    : k_(tb == Trans::kNo ? b.rows : b.cols),
      n_(tb == Trans::kNo ? b.cols : b.rows),
      packed_(detail::packed(tb, b, room).data) {}

void Bf16Operand::multiply(ConstMat a, Mat c, Write write) const {
  AXL_CHECK(a.cols == k_ && a.rows == c.rows && c.cols == n_);
  const detail::PackedB right(k_, n_, packed_);
  for (int64_t begin = 0; begin < c.rows; begin += detail::kMaxBlockRows)
    detail::multiply_rows(Trans::kNo, a, begin, std::min(detail::kMaxBlockRows, c.rows - begin),
                          right, c, write == Write::kAdd, 1.0f);
}

}  // namespace axl
