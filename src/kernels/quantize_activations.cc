#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "axl/kernels/packed_gemm.h"

// In AVX2, which every CPU here has: the same bits everywhere.
#define AXL_AVX2 __attribute__((target("avx2")))

namespace axl::detail {
namespace {

/// From each of eight registers the largest lane.
AXL_AVX2 inline __m256 largest_lanes(const __m256 (&v)[8]) {
  __m256 pairs[4], fours[2];
  for (int i = 0; i < 4; ++i)
    pairs[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    fours[i] = _mm256_max_ps(_mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                             _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
  return _mm256_max_ps(_mm256_permute2f128_ps(fours[0], fours[1], 0x20),
                       _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

/// From each of four registers the sums of its lower and of its upper four lanes: the lower ones
/// come first.
AXL_AVX2 inline __m256i sums_of_halves(const __m256i* v) {
  __m256i pairs[2];
  for (int i = 0; i < 2; ++i)
    pairs[i] = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(pairs[0], pairs[1]),
                          _mm256_unpackhi_epi64(pairs[0], pairs[1]));
}

/// Sums of blocks, in two bytes each.
AXL_AVX2 inline void put_sums(__m256 sums, ActivationBlock& to) {
  constexpr float kMost = 127 * 256;
  alignas(32) float magnitude[8];
  _mm256_store_ps(magnitude, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), sums));
  const float max = *std::max_element(magnitude, magnitude + 8);
  const __m256 inverse = _mm256_set1_ps(max > 0 ? kMost / max : 0);
  const __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(sums, inverse));
  const __m256i high = _mm256_srai_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(128)), 8);
  const __m256i low = _mm256_sub_epi32(n, _mm256_slli_epi32(high, 8));
  const __m256i words = _mm256_packs_epi32(high, low);  // fours of high, low, high, low
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, words),
                                                    _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
  const __m128i both = _mm256_castsi256_si128(bytes);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to.sums_256), both);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to.sums_1), _mm_unpackhi_epi64(both, both));
  to.sum_unit = max / kMost;
}

/// 256 elements, 8 blocks of them at once: no block waits for another one's division.
AXL_AVX2 void quantize_piece(const float* x, ActivationBlock& to) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 tops[8];
  for (int b = 0; b < 8; ++b) {
    tops[b] = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i)
      tops[b] = _mm256_max_ps(tops[b], _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 32 * b + 8 * i)));
  }
  const __m256 max = largest_lanes(tops), most = _mm256_set1_ps(127.0f);
  const __m256 unit = _mm256_div_ps(max, most);
  alignas(32) float inverse[8];
  _mm256_store_ps(inverse, _mm256_and_ps(_mm256_div_ps(most, max),
                                         _mm256_cmp_ps(max, _mm256_setzero_ps(), _CMP_GT_OQ)));
  // Packing works within halves of registers: this puts the fours back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i fours[8];  // sums of four neighbours
  for (int b = 0; b < 8; ++b) {
    const __m256 scale = _mm256_set1_ps(inverse[b]);
    __m256i n[4];
    for (int i = 0; i < 4; ++i)
      n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 32 * b + 8 * i), scale));
    const __m256i bytes = _mm256_permutevar8x32_epi32(
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3])), order);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to.q + 32 * b), bytes);
    fours[b] =
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
  }
  const __m256i low = sums_of_halves(fours), high = sums_of_halves(fours + 4);
  const __m256i first = _mm256_permute2x128_si256(low, high, 0x20),
                second = _mm256_permute2x128_si256(low, high, 0x31);
  const __m256i sum = _mm256_add_epi32(first, second);
  const auto put = [](int32_t* at, __m256i v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(at), v);
  };
  const __m256i even = _mm256_unpacklo_epi32(first, second),
                odd = _mm256_unpackhi_epi32(first, second);
  const __m256i less_32 = _mm256_set1_epi32(-32);
  put(to.less_32, _mm256_mullo_epi32(_mm256_permute2x128_si256(even, odd, 0x20), less_32));
  put(to.less_32 + 8, _mm256_mullo_epi32(_mm256_permute2x128_si256(even, odd, 0x31), less_32));
  put(to.less_128, _mm256_mullo_epi32(sum, _mm256_set1_epi32(-128)));
  _mm256_store_ps(to.scale, unit);
  put_sums(_mm256_mul_ps(unit, _mm256_cvtepi32_ps(sum)), to);
}

}  // namespace

void quantize_activations(const float* x, int64_t cols, ActivationBlock* out) {
  constexpr int64_t kPiece = ActivationBlock::kElements;
  for (int64_t k = 0; k < cols; k += kPiece, ++out) {
    if (cols - k >= kPiece) {
      quantize_piece(x + k, *out);
    } else {  // coded rows are whole blocks: zeros meet zeros
      float copy[kPiece] = {};
      std::memcpy(copy, x + k, sizeof(float) * (cols - k));
      quantize_piece(copy, *out);
    }
  }
}

}  // namespace axl::detail
