#include <immintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "axl/kernels/packed_gemm.h"
#include "axl/tensor/arena.h"

// GCC 12 takes the undefined registers of its own intrinsics for mistakes of ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

// What packed_dot.inl needs of an instruction set. A *pair* is two blocks of 32 elements: 64 codes,
// 16 sums of 4 neighbours each, and the 16 scales of those.

#define AXL_INLINE AXL_TARGET static inline __attribute__((always_inline))

namespace axl::detail {
namespace {

namespace avx2 {
#define AXL_TARGET __attribute__((target("avx2,fma,f16c")))

constexpr int kActivationRows = 1;  // of a register tile: sixteen registers hold no more

struct Codes {
  __m256i first, second;
};
struct Sums {
  __m256 first, second;
};
/// Sixteen scales of a row of weights.
struct RowScales {
  __m256 first, second;
};
/// Up to sixteen products of scales.
struct PieceScales {
  alignas(32) float s[16];
};
/// A pair of blocks, and where its offsets are.
struct Activations {
  Codes q;
  const int32_t* offset;
};

AXL_INLINE __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
AXL_INLINE Codes load_pair(const void* first, const void* second) {
  return {load_bytes(first), load_bytes(second)};
}
AXL_INLINE Codes load_first(const void* first) {
  return {load_bytes(first), _mm256_setzero_si256()};
}
/// The low nibbles of 32 bytes, and the high ones.
AXL_INLINE Codes load_nibbles(const void* p) {
  const __m256i nibble = _mm256_set1_epi8(15), q = load_bytes(p);
  return {_mm256_and_si256(q, nibble), _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble)};
}
/// Of 64 bytes, bits 4·high to 4·high + 3.
AXL_INLINE Codes load_half_bytes(const void* p, int high) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i a = load_bytes(p), b = load_bytes(static_cast<const std::byte*>(p) + 32);
  return {_mm256_and_si256(_mm256_srli_epi16(a, 4 * high), nibble),
          _mm256_and_si256(_mm256_srli_epi16(b, 4 * high), nibble)};
}
/// Adds bits 4 and 5 from 32 bytes: bits `shift` and up for the first block, the two next for the
/// second.
AXL_INLINE Codes with_high_bits(Codes low, const void* p, int shift) {
  const __m256i two = _mm256_set1_epi8(3), h = load_bytes(p);
  const __m256i a = _mm256_and_si256(_mm256_srli_epi16(h, shift), two);
  const __m256i b = _mm256_and_si256(_mm256_srli_epi16(h, shift + 2), two);
  return {_mm256_or_si256(low.first, _mm256_slli_epi16(a, 4)),
          _mm256_or_si256(low.second, _mm256_slli_epi16(b, 4))};
}

// Adds neighbouring products in pairs to 16 bits, which they fit: 2 · 63 · 127 for small weights,
// 2 · 128 · 127 for signed ones, made unsigned by giving their signs to x.
AXL_INLINE __m256i dot_small(__m256i start, __m256i w, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
AXL_INLINE __m256 dot_signed(__m256i w, __m256i x) {
  const __m256i signs_moved = _mm256_sign_epi8(x, w);
  return _mm256_cvtepi32_ps(dot_small(_mm256_setzero_si256(), _mm256_abs_epi8(w), signs_moved));
}
AXL_INLINE Codes prepare_signed(Codes w) { return w; }
AXL_INLINE Activations activations(const ActivationBlock& x, int pair) {
  const int8_t* q = x.q + 64 * pair;
  return {load_pair(q, q + 32), x.offset + 16 * pair};
}
AXL_INLINE Sums dots_signed(Codes w, const Activations& x) {
  return {dot_signed(w.first, x.q.first), dot_signed(w.second, x.q.second)};
}
/// Of codes below 64, less `less` from each: 0 or 32.
template <int less>
AXL_INLINE Sums dots_small(Codes w, const Activations& x) {
  const __m256i none = _mm256_setzero_si256();
  const __m256i a = less ? _mm256_srai_epi32(load_bytes(x.offset), 2) : none;
  const __m256i b = less ? _mm256_srai_epi32(load_bytes(x.offset + 8), 2) : none;
  return {_mm256_cvtepi32_ps(dot_small(a, w.first, x.q.first)),
          _mm256_cvtepi32_ps(dot_small(b, w.second, x.q.second))};
}

AXL_INLINE RowScales sixteen(__m256 first, __m256 second) { return {first, second}; }
AXL_INLINE void store_scales(float* out, __m256 eight) { _mm256_store_ps(out, eight); }
AXL_INLINE void store_scales(float* out, RowScales s) {
  _mm256_store_ps(out, s.first);
  _mm256_store_ps(out + 8, s.second);
}
/// A row's scales times the activations', of each block or each half of one.
AXL_INLINE PieceScales times_block_scales(__m256 w, const ActivationBlock& x) {
  PieceScales r;
  _mm256_store_ps(r.s, _mm256_mul_ps(w, _mm256_load_ps(x.scale)));
  return r;
}
AXL_INLINE PieceScales times_half_scales(const RowScales& w, const ActivationBlock& x) {
  PieceScales r;
  _mm256_store_ps(r.s, _mm256_mul_ps(w.first, _mm256_load_ps(x.half_scale)));
  _mm256_store_ps(r.s + 8, _mm256_mul_ps(w.second, _mm256_load_ps(x.half_scale + 8)));
  return r;
}
/// Scales 2·pair and 2·pair + 1, eight times each.
AXL_INLINE Sums spread_by_8(const PieceScales& r, int pair) {
  return {_mm256_broadcast_ss(r.s + 2 * pair), _mm256_broadcast_ss(r.s + 2 * pair + 1)};
}
/// Scales 4·pair to 4·pair + 3, four times each.
AXL_INLINE Sums spread_by_4(const PieceScales& r, int pair) {
  const float* s = r.s + 4 * pair;
  return {_mm256_set_m128(_mm_broadcast_ss(s + 1), _mm_broadcast_ss(s)),
          _mm256_set_m128(_mm_broadcast_ss(s + 3), _mm_broadcast_ss(s + 2))};
}

AXL_INLINE Sums zero_sums() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
AXL_INLINE Sums add_scaled(Sums sum, Sums dots, Sums scale) {
  return {_mm256_fmadd_ps(dots.first, scale.first, sum.first),
          _mm256_fmadd_ps(dots.second, scale.second, sum.second)};
}
/// The first eight sums less a · b.
AXL_INLINE Sums subtract(Sums sum, __m256 a, __m256 b) {
  return {_mm256_fnmadd_ps(a, b, sum.first), sum.second};
}
AXL_INLINE __m256 halves_added(Sums s) { return _mm256_add_ps(s.first, s.second); }

/// Sixteen products added to sixteen sums; w are values.
AXL_INLINE Sums values_of_bf16(const std::byte* w) {
  const __m256i bits = load_bytes(w);
  return {_mm256_castsi256_ps(
              _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(bits)), 16)),
          _mm256_castsi256_ps(
              _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(bits, 1)), 16))};
}
AXL_INLINE Sums values_of_f16(const std::byte* w) {
  const __m256i bits = load_bytes(w);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(bits)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(bits, 1))};
}
AXL_INLINE Sums values_of_f32(const std::byte* w) {
  const auto* p = reinterpret_cast<const float*>(w);
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
AXL_INLINE Sums add_products(Sums sum, Sums w, const float* x) {
  return {_mm256_fmadd_ps(w.first, _mm256_loadu_ps(x), sum.first),
          _mm256_fmadd_ps(w.second, _mm256_loadu_ps(x + 8), sum.second)};
}

#include "packed_dot.inl"

/// The values of a row: scale · (code − zero) − minimum.
template <class Row>
AXL_TARGET static void decode_coded(const std::byte* w, int64_t cols, float* out) {
  for (int64_t begin = 0; begin < cols; begin += 256, w += Row::kBytes) {
    std::byte padded[Row::kBytes] = {};
    const int64_t count = cols - begin < 256 ? cols - begin : 256;
    if (Row::kEndsEarly && count < 256) __builtin_memcpy(padded, w, (count + 31) / 32 * 34);
    const Row row = Row::at(Row::kEndsEarly && count < 256 ? padded : w);
    alignas(32) int8_t codes[256];
    alignas(32) float scales[16], minima[8] = {};
    store_scales(scales, row.scales);
    if constexpr (Row::kHasMinima) _mm256_store_ps(minima, row.minima);
    for (int pair = 0; pair < 4; ++pair) {
      const Codes c = codes_of(row, pair);
      _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 64 * pair), c.first);
      _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 64 * pair + 32), c.second);
    }
    constexpr int kEach = 256 / Row::kScales;
    for (int64_t i = 0; i < count; ++i)
      out[begin + i] =
          scales[i / kEach] * static_cast<float>(codes[i] - Row::kZero) - minima[i / 32];
  }
}

template <class Row>
AXL_TARGET static void decode_plain(const std::byte* w, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; i += 16) {
    alignas(32) float values[16];
    alignas(32) std::byte last[64] = {};
    const int64_t count = cols - i < 16 ? cols - i : 16;
    const std::byte* from = w + i * Row::kBytes;
    if (count < 16) __builtin_memcpy(last, from, count * Row::kBytes), from = last;
    const Sums v = values_of(Row(), from);
    _mm256_store_ps(values, v.first);
    _mm256_store_ps(values + 8, v.second);
    __builtin_memcpy(out + i, values, count * sizeof(float));
  }
}
#undef AXL_TARGET
constexpr PackedProducts kProducts{
    .isa = "avx2",
    .q8_0 = {multiply_coded<Q8Row>, nullptr},
    .q4_k = {multiply_coded<Q4Row>, nullptr},
    .q6_k = {multiply_coded<Q6Row>, nullptr},
    .bf16 = multiply_plain<Bf16Row>,
    .f16 = multiply_plain<F16Row>,
    .f32 = multiply_plain<F32Row>,
};
}  // namespace avx2

namespace avx512_vnni {
#define AXL_TARGET \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

constexpr int kActivationRows = 4;

using Codes = __m512i;
using Sums = __m512;
using RowScales = __m512;
using PieceScales = __m512;
struct Activations {
  Codes q, offset;
};

AXL_INLINE __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
AXL_INLINE Codes load_pair(const void* first, const void* second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(load_bytes(first)), load_bytes(second), 1);
}
AXL_INLINE Codes load_first(const void* first) { return _mm512_zextsi256_si512(load_bytes(first)); }
AXL_INLINE Codes load_nibbles(const void* p) {
  const __m256i q = load_bytes(p);
  const Codes both = _mm512_inserti64x4(_mm512_castsi256_si512(q), _mm256_srli_epi16(q, 4), 1);
  return _mm512_and_si512(both, _mm512_set1_epi8(15));
}
AXL_INLINE Codes load_half_bytes(const void* p, int high) {
  const Codes q = _mm512_loadu_si512(p);
  return _mm512_and_si512(high ? _mm512_srli_epi16(q, 4) : q, _mm512_set1_epi8(15));
}
AXL_INLINE Codes with_high_bits(Codes low, const void* p, int shift) {
  const Codes h = _mm512_broadcast_i64x4(load_bytes(p));
  const Codes shifts = _mm512_inserti64x4(_mm512_set1_epi16(static_cast<int16_t>(shift)),
                                          _mm256_set1_epi16(static_cast<int16_t>(shift + 2)), 1);
  const Codes bits = _mm512_and_si512(_mm512_srlv_epi16(h, shifts), _mm512_set1_epi8(3));
  return _mm512_or_si512(low, _mm512_slli_epi16(bits, 4));
}

// Signed weights are made unsigned by adding 128; what this adds is taken off again by beginning
// with the activations' offset.
AXL_INLINE Codes prepare_signed(Codes w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
AXL_INLINE Activations activations(const ActivationBlock& x, int pair) {
  Activations a = {_mm512_load_si512(x.q + 64 * pair), _mm512_load_si512(x.offset + 16 * pair)};
  // Stay in registers: the compiler would rather load them again for every row of weights.
  asm("" : "+v"(a.q), "+v"(a.offset));
  return a;
}
AXL_INLINE Sums dots_signed(Codes w, const Activations& x) {
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(x.offset, w, x.q));
}
template <int less>
AXL_INLINE Sums dots_small(Codes w, const Activations& x) {
  const __m512i start = less ? _mm512_srai_epi32(x.offset, 2) : _mm512_setzero_si512();
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, w, x.q));
}

AXL_INLINE RowScales sixteen(__m256 first, __m256 second) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1);
}
AXL_INLINE PieceScales times_block_scales(__m256 w, const ActivationBlock& x) {
  return _mm512_castps256_ps512(_mm256_mul_ps(w, _mm256_load_ps(x.scale)));
}
AXL_INLINE PieceScales times_half_scales(const RowScales& w, const ActivationBlock& x) {
  return _mm512_mul_ps(w, _mm512_load_ps(x.half_scale));
}
AXL_INLINE Sums spread_by_8(const PieceScales& r, int pair) {
  const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_permutexvar_ps(_mm512_add_epi32(halves, _mm512_set1_epi32(2 * pair)), r);
}
AXL_INLINE Sums spread_by_4(const PieceScales& r, int pair) {
  const __m512i quarters = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  return _mm512_permutexvar_ps(_mm512_add_epi32(quarters, _mm512_set1_epi32(4 * pair)), r);
}

AXL_INLINE Sums zero_sums() { return _mm512_setzero_ps(); }
AXL_INLINE Sums add_scaled(Sums sum, Sums dots, Sums scale) {
  return _mm512_fmadd_ps(dots, scale, sum);
}
AXL_INLINE Sums subtract(Sums sum, __m256 a, __m256 b) {
  return _mm512_fnmadd_ps(_mm512_zextps256_ps512(a), _mm512_zextps256_ps512(b), sum);
}
AXL_INLINE __m256 halves_added(Sums s) {
  return _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
}

AXL_INLINE Sums values_of_bf16(const std::byte* w) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_bytes(w)), 16));
}
AXL_INLINE Sums values_of_f16(const std::byte* w) { return _mm512_cvtph_ps(load_bytes(w)); }
AXL_INLINE Sums values_of_f32(const std::byte* w) { return _mm512_loadu_ps(w); }
AXL_INLINE Sums add_products(Sums sum, Sums w, const float* x) {
  return _mm512_fmadd_ps(w, _mm512_loadu_ps(x), sum);
}

#include "packed_dot.inl"
#include "packed_panel.inl"
#undef AXL_TARGET
constexpr PackedProducts kProducts{
    .isa = "avx512_vnni",
    .q8_0 = {multiply_coded<Q8Row>, multiply_many<Q8Row>},
    .q4_k = {multiply_coded<Q4Row>, multiply_many<Q4Row>},
    .q6_k = {multiply_coded<Q6Row>, multiply_many<Q6Row>},
    .bf16 = multiply_plain<Bf16Row>,
    .f16 = multiply_plain<F16Row>,
    .f32 = multiply_plain<F32Row>,
};
}  // namespace avx512_vnni

constexpr std::array<PackedProducts, 2> kAll = {avx2::kProducts, avx512_vnni::kProducts};

}  // namespace

void decode_packed_row(ElementType type, const std::byte* w, int64_t cols, float* out) {
  switch (type) {
    case ElementType::kQ8_0:
      return avx2::decode_coded<avx2::Q8Row>(w, cols, out);
    case ElementType::kQ4_K:
      return avx2::decode_coded<avx2::Q4Row>(w, cols, out);
    case ElementType::kQ6_K:
      return avx2::decode_coded<avx2::Q6Row>(w, cols, out);
    case ElementType::kBF16:
      return avx2::decode_plain<avx2::Bf16Row>(w, cols, out);
    case ElementType::kF16:
      return avx2::decode_plain<avx2::F16Row>(w, cols, out);
    default:
      return avx2::decode_plain<avx2::F32Row>(w, cols, out);
  }
}

std::span<const PackedProducts> packed_products() {
  const bool vnni = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return {kAll.data(), vnni ? size_t{2} : size_t{1}};
}

}  // namespace axl::detail
