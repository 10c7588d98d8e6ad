#include <immintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "axl/kernels/packed_gemm.h"

// GCC 12 takes the undefined registers of its own intrinsics for mistakes of ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

// What coded_panels.inl and plain_rows.inl need of an instruction set.

#define AXL_INLINE AXL_TARGET static inline __attribute__((always_inline))

namespace axl::detail {
namespace {

constexpr int64_t kLineBytes = 64;
constexpr int64_t kAhead = 4096;  // bytes that weights are asked for ahead of time

/// From how many rows of x on weights are asked for ahead of time: whole bytes, and packed codes.
struct AskedRows {
  int64_t whole, packed;
};

/// Panels and rows are read straight on, from the first byte to the last. Intel's CPUs fetch ahead
/// on their own only to the end of a page of 4 KiB: asking gains 10 to 27 % of a byte's time, from
/// memory and from L3 (Cascade Lake, axl_micro to axl_300m, every type of weights). AMD's do better
/// alone until arithmetic slows the reading down. One Zen 4 core reads from memory, GB/s asked and
/// not: q4_k with one row 27, 30, with four 20, 22, with eight 11, 9; q6_k 27, 30; 22, 27; 11, 9;
/// q8_0 with three rows 20, 29, and a pass of axl_300m in q8_0 with six loses a tenth by asking. On
/// Zen 5 one row of q4_k gains a seventh, eight rows a quarter, and one of q8_0 nothing. (AMD's
/// family 19h are Zen 3 and 4.)
AskedRows asked_rows() {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  static const AskedRows rows = __builtin_cpu_is("intel")       ? AskedRows{1, 1}
                                : __builtin_cpu_is("amdfam19h") ? AskedRows{kNever, 6}
                                                                : AskedRows{2, 1};
  return rows;
}

namespace avx2 {
#define AXL_TARGET __attribute__((target("avx2,fma,f16c")))

// ---- For panels

constexpr int kLanes = 8;              // rows of W that one register covers
constexpr int kTileRows = 4;           // rows of x that pass by a panel at once
constexpr int kManyPanels = 1;         // panels that share what is loaded of x, if it has many rows
constexpr int kManyTileRows = 4;       // that pass by those at once
constexpr uint32_t kFlippedSigns = 0;  // of each byte of q8_0

using Floats = __m256;
using Ints = __m256i;
struct SmallCodes {  // below 64
  __m256i w;
};
struct SignedCodes {
  __m256i w, magnitude;
};

using Bytes = __m256i;
constexpr int kHighNibbleShift = 0;  // high_nibbles() are larger by this power of two

AXL_INLINE Bytes load_codes(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
/// Each 16 bits, or to the left by a number below zero. The compiler knows it.
AXL_INLINE Bytes shifted_right(Bytes q, int by) {
  return by >= 0 ? _mm256_srli_epi16(q, by) : _mm256_slli_epi16(q, -by);
}
AXL_INLINE SignedCodes signed_codes(__m256i w) { return {w, _mm256_abs_epi8(w)}; }
AXL_INLINE SmallCodes low_nibbles(Bytes q) { return {_mm256_and_si256(q, _mm256_set1_epi8(15))}; }
AXL_INLINE SmallCodes high_nibbles(Bytes q) { return low_nibbles(shifted_right(q, 4)); }
AXL_INLINE SmallCodes low_six(Bytes q) { return {_mm256_and_si256(q, _mm256_set1_epi8(63))}; }
/// Bits 0 to 3 of one with bits 4 and 5 of the other.
AXL_INLINE SmallCodes nibbles_with_two(Bytes low, Bytes high) {
  return {_mm256_or_si256(low_nibbles(low).w, _mm256_and_si256(high, _mm256_set1_epi8(48)))};
}
AXL_INLINE SmallCodes from_bit(SmallCodes q, int n) {
  return {_mm256_srl_epi32(q.w, _mm_cvtsi32_si128(n))};
}
/// Of each 32 bits those that `mask` has, from bit `from` on, or shifted to the left below zero.
AXL_INLINE Ints bits(SmallCodes q, int from, int mask) {
  return _mm256_and_si256(from >= 0 ? _mm256_srli_epi32(q.w, from) : _mm256_slli_epi32(q.w, -from),
                          _mm256_set1_epi32(mask));
}
AXL_INLINE __m256i four_of(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm256_set1_epi32(four);
}
// Neighbouring products are added in pairs of 16 bits, which they fit: 2 · 63 · 127 for small
// codes, 2 · 128 · 127 for signed ones, made unsigned by giving their signs to x. Pairs of several
// groups are added up before they are widened where that fits too.
/// pairs + the products of four neighbours of each row.
AXL_INLINE Ints dot(Ints pairs, SmallCodes c, Ints four) {
  return _mm256_add_epi16(pairs, _mm256_maddubs_epi16(c.w, four));
}
AXL_INLINE Ints dot(Ints pairs, SignedCodes c, Ints four) {
  return _mm256_add_epi16(pairs, _mm256_maddubs_epi16(c.magnitude, _mm256_sign_epi8(four, c.w)));
}
AXL_INLINE Ints narrowed(Ints) { return _mm256_setzero_si256(); }
AXL_INLINE Ints add_narrow(Ints sum, Ints pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
AXL_INLINE Ints all_ints(int32_t x) { return _mm256_set1_epi32(x); }
AXL_INLINE Ints times_256(Ints x) { return _mm256_slli_epi32(x, 8); }
AXL_INLINE Ints signed_start(int32_t) { return all_ints(0); }
AXL_INLINE Floats floats(Ints x) { return _mm256_cvtepi32_ps(x); }
AXL_INLINE Floats all_floats(float x) { return _mm256_set1_ps(x); }
AXL_INLINE Floats load_halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
AXL_INLINE Ints load_signed_bytes(const std::byte* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
AXL_INLINE Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
AXL_INLINE Floats add_products(Floats sum, Floats a, Floats b) {
  return _mm256_fmadd_ps(a, b, sum);
}
AXL_INLINE Floats less_products(Floats sum, Floats a, Floats b) {
  return _mm256_fnmadd_ps(a, b, sum);
}
/// To the first `count` of y's elements, or all that there are lanes.
AXL_INLINE void store(Floats sums, float* y, int64_t count, bool add) {
  if (count >= kLanes)
    return _mm256_storeu_ps(y, add ? _mm256_add_ps(_mm256_loadu_ps(y), sums) : sums);
  alignas(32) float out[kLanes];
  _mm256_store_ps(out, sums);
  for (int64_t i = 0; i < count; ++i) y[i] = add ? y[i] + out[i] : out[i];
}

#include "coded_panels.inl"

// ---- For plain rows

constexpr int kActivationRows = 1;  // of a register tile: sixteen registers hold no more

struct Sums {
  __m256 first, second;
};
AXL_INLINE Sums zero_sums() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
AXL_INLINE __m256 halves_added(Sums s) { return _mm256_add_ps(s.first, s.second); }

/// Sixteen products added to sixteen sums; w are values.
AXL_INLINE Sums values_of_bf16(const std::byte* w) {
  const __m256i bits = load_codes(w);
  return {_mm256_castsi256_ps(
              _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(bits)), 16)),
          _mm256_castsi256_ps(
              _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(bits, 1)), 16))};
}
AXL_INLINE Sums values_of_f16(const std::byte* w) {
  const __m256i bits = load_codes(w);
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

#include "plain_rows.inl"

/// The values of a row.
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
// f32_few_rows: 10⁹ multiply-adds a second of one Zen 5 core, oneDNN's sgemm to ours, by rows of x.
// Weights of 256 x 688 in its cache: 3 20 to 23, 4 22 to 24, 6 29 to 23; of 5632 x 1024 from
// memory: 3 11 to 14, 4 13 to 15, 6 17 to 16.
constexpr PackedProducts kProducts{
    .isa = "avx2",
    .panel_rows = kLanes,
    .q8_0 = coded_products<Q8Panel>(),
    .q4_k = coded_products<Q4Panel>(),
    .q6_k = coded_products<Q6Panel>(),
    .bf16 = multiply_plain<Bf16Row>,
    .f16 = multiply_plain<F16Row>,
    .f32 = multiply_plain<F32Row>,
    .f32_few_rows = 4,
};
}  // namespace avx2

namespace avx512_vnni {
#define AXL_TARGET \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

// ---- For panels

constexpr int kLanes = 16;
constexpr int kTileRows = 8;
constexpr int kManyPanels = 2;
constexpr int kManyTileRows = 6;
// Signed codes are made unsigned by adding 128, which for a byte is to flip its sign; what this
// adds is taken off again by beginning with less_128.
constexpr uint32_t kFlippedSigns = 0x80808080;

using Floats = __m512;
using Ints = __m512i;
using SmallCodes = __m512i;
using SignedCodes = __m512i;

using Bytes = __m512i;
// They stay where they are: dot() takes bytes up to 255, and a shift less is made.
constexpr int kHighNibbleShift = 4;

AXL_INLINE Bytes load_codes(const std::byte* p) { return _mm512_loadu_si512(p); }
AXL_INLINE Bytes shifted_right(Bytes q, int by) {
  return by >= 0 ? _mm512_srli_epi16(q, by) : _mm512_slli_epi16(q, -by);
}
AXL_INLINE SignedCodes signed_codes(Bytes w) { return w; }
AXL_INLINE SmallCodes low_nibbles(Bytes q) { return _mm512_and_si512(q, _mm512_set1_epi8(15)); }
AXL_INLINE SmallCodes high_nibbles(Bytes q) { return _mm512_and_si512(q, _mm512_set1_epi8(-16)); }
AXL_INLINE SmallCodes low_six(Bytes q) { return _mm512_and_si512(q, _mm512_set1_epi8(63)); }
AXL_INLINE SmallCodes nibbles_with_two(Bytes low, Bytes high) {
  constexpr int kFirstOrBothOthers = 0xf8;
  return _mm512_ternarylogic_epi32(low_nibbles(low), high, _mm512_set1_epi8(48),
                                   kFirstOrBothOthers);
}
AXL_INLINE SmallCodes from_bit(SmallCodes q, int n) {
  return _mm512_srl_epi32(q, _mm_cvtsi32_si128(n));
}
AXL_INLINE Ints bits(SmallCodes q, int from, int mask) {
  return _mm512_and_si512(from >= 0 ? _mm512_srli_epi32(q, from) : _mm512_slli_epi32(q, -from),
                          _mm512_set1_epi32(mask));
}
AXL_INLINE Ints four_of(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm512_set1_epi32(four);
}
// Products are added up in 32 bits at once.
AXL_INLINE Ints dot(Ints sum, __m512i w, Ints four) { return _mm512_dpbusd_epi32(sum, w, four); }
AXL_INLINE Ints narrowed(Ints sum) { return sum; }
AXL_INLINE Ints add_narrow(Ints, Ints sum) { return sum; }
AXL_INLINE Ints all_ints(int32_t x) { return _mm512_set1_epi32(x); }
AXL_INLINE Ints times_256(Ints x) { return _mm512_slli_epi32(x, 8); }
AXL_INLINE Ints signed_start(int32_t less_128) { return all_ints(less_128); }
AXL_INLINE Floats floats(Ints x) { return _mm512_cvtepi32_ps(x); }
AXL_INLINE Floats all_floats(float x) { return _mm512_set1_ps(x); }
AXL_INLINE Floats load_halves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
AXL_INLINE Ints load_signed_bytes(const std::byte* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
AXL_INLINE Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
AXL_INLINE Floats add_products(Floats sum, Floats a, Floats b) {
  return _mm512_fmadd_ps(a, b, sum);
}
AXL_INLINE Floats less_products(Floats sum, Floats a, Floats b) {
  return _mm512_fnmadd_ps(a, b, sum);
}
AXL_INLINE void store(Floats sums, float* y, int64_t count, bool add) {
  const auto mask = static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
  if (add) sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, y));
  _mm512_mask_storeu_ps(y, mask, sums);
}

#include "coded_panels.inl"

// ---- For plain rows

constexpr int kActivationRows = 4;

using Sums = __m512;
AXL_INLINE Sums zero_sums() { return _mm512_setzero_ps(); }
AXL_INLINE __m256 halves_added(Sums s) {
  return _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
}
AXL_INLINE __m256i load_16_halves(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
AXL_INLINE Sums values_of_bf16(const std::byte* w) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_16_halves(w)), 16));
}
AXL_INLINE Sums values_of_f16(const std::byte* w) { return _mm512_cvtph_ps(load_16_halves(w)); }
AXL_INLINE Sums values_of_f32(const std::byte* w) { return _mm512_loadu_ps(w); }
AXL_INLINE Sums add_products(Sums sum, Sums w, const float* x) {
  return _mm512_fmadd_ps(w, _mm512_loadu_ps(x), sum);
}

#include "plain_rows.inl"
#undef AXL_TARGET
// f32_few_rows, as above: 3 58 to 67, 4 48 to 72, 8 63 to 70, 15 58 to 70, 24 69 to 69, 47 54 to
// 67, 64 66 to 68; and 3 15 to 23, 4 16 to 27, 8 26 to 33, 15 31 to 37, 24 39 to 44, 47 44 to 49,
// 64 61 to 51.
constexpr PackedProducts kProducts{
    .isa = "avx512_vnni",
    .panel_rows = kLanes,
    .q8_0 = coded_products<Q8Panel>(),
    .q4_k = coded_products<Q4Panel>(),
    .q6_k = coded_products<Q6Panel>(),
    .bf16 = multiply_plain<Bf16Row>,
    .f16 = multiply_plain<F16Row>,
    .f32 = multiply_plain<F32Row>,
    .f32_few_rows = 47,
};
}  // namespace avx512_vnni

constexpr std::array<PackedProducts, 2> kAll = {avx2::kProducts, avx512_vnni::kProducts};

}  // namespace

void decode_plain_row(ElementType type, const std::byte* w, int64_t cols, float* out) {
  switch (type) {
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
