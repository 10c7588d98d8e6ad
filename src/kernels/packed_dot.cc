#include <immintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "axl/kernels/packed_gemm.h"

namespace axl::detail {
namespace {

namespace avx2 {
#define AXL_TARGET __attribute__((target("avx2,fma,f16c")))

// Adds neighbouring products in pairs to 16 bits, which they fit: 2 · 63 · 127 for small weights,
// 2 · 128 · 127 for signed ones, made unsigned by giving their signs to x.
AXL_TARGET static inline __m256i dot_small(__m256i start, __m256i w, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
AXL_TARGET static inline __m256i dot_signed(__m256i, __m256i w, __m256i x) {
  return dot_small(_mm256_setzero_si256(), _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

#include "packed_dot.inl"
#undef AXL_TARGET
constexpr PackedDots kDots{"avx2", dot_q8_0, dot_q4_k, dot_q6_k, dot_bf16, dot_f16, dot_f32};
}  // namespace avx2

namespace avx512_vnni {
#define AXL_TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512vl,avx512vnni")))

AXL_TARGET static inline __m256i dot_small(__m256i start, __m256i w, __m256i x) {
  return _mm256_dpbusd_epi32(start, w, x);
}
AXL_TARGET static inline __m256i dot_signed(__m256i offset, __m256i w, __m256i x) {
  return _mm256_dpbusd_epi32(offset, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x);
}

#include "packed_dot.inl"
#undef AXL_TARGET
constexpr PackedDots kDots{"avx512_vnni", dot_q8_0, dot_q4_k, dot_q6_k, dot_bf16, dot_f16, dot_f32};
}  // namespace avx512_vnni

constexpr std::array<PackedDots, 2> kAll = {avx2::kDots, avx512_vnni::kDots};

}  // namespace

std::span<const PackedDots> packed_dots() {
  const bool vnni = __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return {kAll.data(), vnni ? size_t{2} : size_t{1}};
}

}  // namespace axl::detail
