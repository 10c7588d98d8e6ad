#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "axl/base/parallel.h"
#include "axl/kernels/gemm.h"
#include "axl/tensor/arena.h"

// Operands are rounded to bf16 while they are packed, in pairs of neighbours along k, which is what
// VDPBF16PS multiplies: acc[j] += a.low · b[j].low + a.high · b[j].high for 16 columns j at once.
// B is packed whole, once; each block of rows of A by the thread that multiplies it.
//
// oneDNN 2.7 multiplies operands that are bf16 already 10 to 20 % faster, but ours are f32. With
// the conversion it is 0 to 15 % faster in forward products of 4096 rows and 1 to 9 % slower in
// weight gradients; it would want buffers for the converted operands and a primitive for every
// shape.

// What Precision::kBf16 needs of the CPU, whatever the rest is compiled for.
#define AXL_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace axl::detail {
namespace {

using Pair = uint32_t;  // bf16 of an even k in the low half, of the next k in the high half

// One register tile: 24 sums, two registers of B and one of A.
constexpr int64_t kRows = 12, kCols = 32, kLanes = 16;
// Pairs of k that a tile sums before it adds to C: a panel of B, 24 KiB, stays in the L1 cache.
constexpr int64_t kMaxPairs = 192;
constexpr int64_t kMaxBlockRows = 8 * kRows;
// Packing so many pairs of B takes about 10 µs, and waking other threads nearly as long.
constexpr int64_t kMinParallelPairs = 1 << 17;

struct Operand {
  ConstMat x;
  bool k_in_rows;  ///< element (i, k) is x(k, i), not x(i, k)
};

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

// out [pairs][width]: columns [begin, begin + width) of x [k, ·] for rows k in [k0, k0 + 2·pairs).
AXL_AVX512_BF16 void pack_columns(ConstMat x, int64_t k0, int64_t pairs, int64_t begin,
                                  int64_t width, Pair* out) {
  for (int64_t p = 0; p < pairs; ++p) {
    const int64_t k = k0 + 2 * p;
    const float* even = x.row(k) + begin;
    const float* odd = k + 1 < x.rows ? even + x.stride : nullptr;
    for (int64_t i = 0; i < width; i += kLanes) {
      const __mmask16 wanted = lanes(width - i), there = lanes(x.cols - begin - i);
      const __m512i v = interleaved(even + i, odd ? odd + i : nullptr, wanted & there);
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
      for (int64_t j = 0; j < std::min(kLanes, pairs - p); ++j)
        _mm512_store_si512(out + (p + j) * kCols + i, v[j]);
    }
  }
}

// out [rows][stride]: rows of x as they are.
AXL_AVX512_BF16 void pack_rows(ConstMat x, int64_t k0, int64_t pairs, int64_t begin, int64_t rows,
                               int64_t stride, Pair* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x.row(begin + r) + k0;
    for (int64_t p = 0; p < pairs; p += kLanes)
      _mm512_storeu_si512(out + r * stride + p, neighbours(row + 2 * p, x.cols - k0 - 2 * p));
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

// Pair p of row r of A stands at a[r · row_stride + p · pair_stride].
AXL_AVX512_BF16 void multiply_tile(const Pair* a, int64_t row_stride, int64_t pair_stride,
                                   const Pair* b, int64_t pairs, const Target& target) {
  __m512 sums[kRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh b0 = (__m512bh)_mm512_load_si512(b + p * kCols);
    const __m512bh b1 = (__m512bh)_mm512_load_si512(b + p * kCols + kLanes);
#pragma GCC unroll 12
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512bh ar = (__m512bh)_mm512_set1_epi32(a[r * row_stride]);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], ar, b0);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], ar, b1);
    }
    a += pair_stride;
  }
#pragma GCC unroll 12
  for (int64_t r = 0; r < kRows; ++r) {
    if (r >= target.rows) break;
    store(target, r, 0, sums[r][0]);
    store(target, r, kLanes, sums[r][1]);
  }
}

/// This thread's room for a packed B, kept from product to product.
Pair* packed_b(int64_t pairs) {
  thread_local Buffer room;
  if (room.bytes() < sizeof(Pair) * pairs) room = Buffer(sizeof(Pair) * pairs);
  return static_cast<Pair*>(room.data());
}

}  // namespace

bool cpu_has_bf16() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
}

void gemm_bf16(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha) {
  const int64_t k = ta == Trans::kNo ? a.cols : a.rows, all_pairs = (k + 1) / 2;
  const int64_t k_blocks = (all_pairs + kMaxPairs - 1) / kMaxPairs;
  const int64_t block_pairs = round_up((all_pairs + k_blocks - 1) / k_blocks, kLanes);
  const auto pairs_of = [&](int64_t block) {
    return std::clamp<int64_t>(all_pairs - block * block_pairs, 0, block_pairs);
  };

  const int64_t panels = (c.cols + kCols - 1) / kCols;
  Pair* const packed = packed_b(panels * kCols * all_pairs);
  const auto panel_at = [&](int64_t panel, int64_t block) {
    return packed + (panel * all_pairs + block * block_pairs) * kCols;
  };
  const auto pack = [&](int64_t i) {
    const int64_t block = i / panels, panel = i % panels, k0 = 2 * block * block_pairs;
    if (tb == Trans::kNo)
      pack_columns(b, k0, pairs_of(block), panel * kCols, kCols, panel_at(panel, block));
    else
      pack_rows_transposed(b, k0, pairs_of(block), panel * kCols, panel_at(panel, block));
  };
  if (all_pairs * c.cols >= kMinParallelPairs)
    parallel_for(panels * k_blocks, pack);
  else
    for (int64_t i = 0; i < panels * k_blocks; ++i) pack(i);

  const int64_t row_stride = ta == Trans::kNo ? block_pairs : 1;
  const int64_t pair_stride = ta == Trans::kNo ? 1 : kRows;
  const int64_t share = c.rows / (4 * num_threads());  // a few blocks for each thread
  const int64_t block_rows = std::clamp(round_up(share, kRows), kRows, kMaxBlockRows);
  parallel_for_dynamic((c.rows + block_rows - 1) / block_rows, [&](int64_t i) {
    alignas(64) thread_local Pair room[kMaxBlockRows * kMaxPairs];
    const int64_t begin = i * block_rows, rows = std::min(block_rows, c.rows - begin);
    for (int64_t block = 0; block < k_blocks; ++block) {
      const int64_t pairs = pairs_of(block), k0 = 2 * block * block_pairs;
      if (ta == Trans::kNo) {
        pack_rows(a, k0, pairs, begin, rows, block_pairs, room);
      } else {
        for (int64_t r = 0; r < rows; r += kRows)
          pack_columns(a, k0, pairs, begin + r, kRows, room + r * block_pairs);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t col = panel * kCols;
        for (int64_t r = 0; r < rows; r += kRows) {
          multiply_tile(room + r * block_pairs, row_stride, pair_stride, panel_at(panel, block),
                        pairs,
                        {c.row(begin + r) + col, c.stride, std::min(kRows, rows - r), c.cols - col,
                         alpha, write == Write::kAdd || block > 0});
        }
      }
    }
  });
}

}  // namespace axl::detail
