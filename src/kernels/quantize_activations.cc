#include <immintrin.h>

#include <cstdint>

#include "axl/kernels/packed_gemm.h"

namespace axl::detail {
namespace {

// In AVX2, which every CPU here has: the same bits everywhere.
__attribute__((target("avx2"))) void quantize_block(const float* x, int64_t b,
                                                    ActivationBlock& to) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 v[4], top = _mm256_setzero_ps();
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    top = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[i]));
  }
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  const float max = _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  const float unit = max / 127.0f;
  const __m256 inverse = _mm256_set1_ps(max > 0 ? 127.0f / max : 0.0f);
  __m256i n[4];
  for (int i = 0; i < 4; ++i) n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
  // Packing works within halves of registers: put the fours back in order.
  const __m256i in_order =
      _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m256i twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), in_order);
  const __m256i fours = _mm256_madd_epi16(twos, _mm256_set1_epi16(1));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to.q + 32 * b), in_order);
  to.scale[b] = unit;
  __m256i halves = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
  halves = _mm256_add_epi32(halves, _mm256_shuffle_epi32(halves, 0xb1));
  const int first = _mm256_cvtsi256_si32(halves), second = _mm256_extract_epi32(halves, 4);
  to.less_32[2 * b] = -32 * first;
  to.less_32[2 * b + 1] = -32 * second;
  to.less_128[b] = -128 * (first + second);
  to.sum[b] = unit * static_cast<float>(first + second);
}

}  // namespace

void quantize_activations(const float* x, int64_t cols, ActivationBlock* out) {
  const int64_t padded = (cols + 255) / 256 * 256;  // coded rows are whole blocks: zeros meet zeros
  for (int64_t k = 0; k < padded; k += 32) {
    float copy[32] = {};
    const float* from = x + k;
    if (k + 32 > cols) {
      if (k < cols) __builtin_memcpy(copy, from, sizeof(float) * (cols - k));
      from = copy;
    }
    quantize_block(from, k % 256 / 32, out[k / 256]);
  }
}

}  // namespace axl::detail
