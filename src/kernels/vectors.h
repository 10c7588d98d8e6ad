#pragma once

// Registers of floats, for files that are compiled once per instruction set (see CMakeLists.txt).
// Such code calls nothing but itself and the compiler's builtins: an inline function or a template
// of any header would be shared with the rest of the program, and the linker could keep the copy
// that only some CPUs can run. What is here is each file's own.

#include <immintrin.h>

#include <cstdint>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && \
    defined(__AVX512DQ__) && defined(__AVX512VL__)
#define AXL_ISA "avx512"
#define AXL_LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
#define AXL_ISA "avx2"
#define AXL_LANES 8
#else
#error "this file must be compiled for AVX2 or for AVX-512"
#endif

namespace axl {
namespace {

constexpr int kLanes = AXL_LANES;  // floats in a register
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(Vector v, float* p) { __builtin_memcpy(p, &v, sizeof(v)); }

inline Vector all_lanes(float x) {
#if AXL_LANES == 16
  return _mm512_set1_ps(x);
#else
  return _mm256_set1_ps(x);
#endif
}

// a · b + c, rounded once: left to the compiler, `a * b + c` may be rounded twice in one place and
// once in another.
inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if AXL_LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#else
  return _mm256_fmadd_ps(a, b, c);
#endif
}

// "Some" are the first lanes of a register, fewer than all; the others are 0, or stay.
#if AXL_LANES == 16
inline __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1 << count) - 1); }
inline Vector load_some(const float* p, int64_t count) {
  return _mm512_maskz_loadu_ps(first_lanes(count), p);
}
inline Vector load(const int8_t* bytes) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
}
inline Vector load_some(const int8_t* bytes, int64_t count) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_lanes(count), bytes)));
}
inline void store_some(Vector v, float* p, int64_t count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), v);
}
inline void store_bytes(Vector v, int8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
}
#else
inline __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vector load_some(const float* p, int64_t count) {
  return _mm256_maskload_ps(p, first_lanes(count));
}
inline Vector load(const int8_t* bytes) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}
inline Vector load_some(const int8_t* bytes, int64_t count) {
  int8_t some[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = bytes[i];
  return load(some);
}
inline void store_some(Vector v, float* p, int64_t count) {
  _mm256_maskstore_ps(p, first_lanes(count), v);
}
inline void store_bytes(Vector v, int8_t* p) {
  const __m256i n = _mm256_cvtps_epi32(v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
#endif

using VectorBits = uint32_t __attribute__((vector_size(sizeof(Vector))));
inline uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
inline VectorBits bits_of(Vector x) { return __builtin_bit_cast(VectorBits, x); }

// e^x with relative error below 3e-7 on [-87, 88], clamped outside. Branch-free, so that loops over
// it vectorise: x = n·ln2 + r, |r| <= ln2/2, e^r by its Taylor polynomial, 2^n by exponent bits
// (Cody and Waite 1980).
template <class T>
inline T fast_exp(T x) {
  x = x < -87.0f ? T{} - 87.0f : x;
  x = x > 88.0f ? T{} + 88.0f : x;
  constexpr float kRound = 12582912.0f;        // 1.5 · 2^23: adding it rounds to an integer
  const T rounded = x * 1.44269504f + kRound;  // whose lowest bits are those of n
  const T n = rounded - kRound;
  const T r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  T p = T{} + 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * __builtin_bit_cast(T, (bits_of(rounded) + 127) << 23);
}

}  // namespace
}  // namespace axl
