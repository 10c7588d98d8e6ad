// The dot products of coded rows, compiled once per instruction set by packed_dot.cc, which defines
// AXL_TARGET and the namespace around this file. Everything here is static and takes its helpers
// from the same inclusion, so that no instruction leaks into another set's code.
//
// A block's integer sum is kept as 8 lanes, each of 4 neighbours. Weights are made unsigned by
// adding 128 or 32, as the multiplying instructions want one unsigned operand; what this adds is
// taken off again by starting from ActivationBlock::offset.

// Rows come from beyond the caches when a model is large; asking this far ahead keeps memory busy.
static constexpr int64_t kPrefetchBytes = 2048;

AXL_TARGET static inline float add_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

AXL_TARGET static inline float half_at(const std::byte* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

AXL_TARGET static inline __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

AXL_TARGET static inline __m256 add_q8_0_block(const std::byte* w, const ActivationBlock* x,
                                               int64_t b, __m256 sum) {
  const ActivationBlock& a = x[b / 8];
  __builtin_prefetch(w + kPrefetchBytes);
  const __m256i dots = dot_signed(load_bytes(a.offset + b % 8 * 8), load_bytes(w + 2),
                                  load_bytes(a.q + b % 8 * 32));
  const __m256 scale = _mm256_set1_ps(half_at(w) * a.scale[b % 8]);
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sum);
}

AXL_TARGET static float dot_q8_0(const std::byte* w, const ActivationBlock* x, int64_t cols) {
  __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
  const int64_t blocks = (cols + 31) / 32;
  int64_t b = 0;
  for (; b + 2 <= blocks; b += 2, w += 68) {
    even = add_q8_0_block(w, x, b, even);
    odd = add_q8_0_block(w + 34, x, b + 1, odd);
  }
  if (b < blocks) even = add_q8_0_block(w, x, b, even);
  return add_lanes(_mm256_add_ps(even, odd));
}

// Eight 6-bit scales and eight 6-bit minima, packed in 12 bytes: the first four of each in the low
// bits of bytes 0-3 and 4-7, the others in the nibbles of 8-11 and the high bits of 0-3 and 4-7.
AXL_TARGET static inline void unpack_scales(const std::byte* p, __m256* scales, __m256* minima) {
  uint32_t s[3];
  __builtin_memcpy(s, p, sizeof(s));
  const uint32_t high_scales = (s[2] & 0x0f0f0f0f) | (s[0] >> 2 & 0x30303030);
  const uint32_t high_minima = (s[2] >> 4 & 0x0f0f0f0f) | (s[1] >> 2 & 0x30303030);
  const __m128i bytes = _mm_set_epi32(high_minima, s[1] & 0x3f3f3f3f, high_scales,
                                      s[0] & 0x3f3f3f3f);
  *scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
  *minima = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
}

AXL_TARGET static float dot_q4_k(const std::byte* w, const ActivationBlock* x, int64_t cols) {
  __m256 sum = _mm256_setzero_ps(), below = _mm256_setzero_ps();
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int64_t k = 0; k < cols; k += 256, w += 144, ++x) {
    __m256 scales, minima;
    unpack_scales(w + 4, &scales, &minima);
    const __m256 unit = _mm256_mul_ps(_mm256_set1_ps(half_at(w)), _mm256_load_ps(x->scale));
    alignas(32) float scale[8];
    _mm256_store_ps(scale, _mm256_mul_ps(scales, unit));
    below = _mm256_fmadd_ps(_mm256_mul_ps(minima, _mm256_set1_ps(half_at(w + 2))),
                            _mm256_load_ps(x->sum), below);
    for (int64_t j = 0; j < 4; ++j) {
      __builtin_prefetch(w + 16 + 32 * j + kPrefetchBytes);
      const __m256i q = load_bytes(w + 16 + 32 * j);
      const __m256i low = _mm256_and_si256(q, nibble);
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble);
      const __m256i zero = _mm256_setzero_si256();
      const __m256i a = dot_small(zero, low, load_bytes(x->q + 64 * j));
      const __m256i b = dot_small(zero, high, load_bytes(x->q + 64 * j + 32));
      sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), _mm256_set1_ps(scale[2 * j]), sum);
      sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_set1_ps(scale[2 * j + 1]), sum);
    }
  }
  return add_lanes(_mm256_sub_ps(sum, below));
}

AXL_TARGET static float dot_q6_k(const std::byte* w, const ActivationBlock* x, int64_t cols) {
  __m256 sum = _mm256_setzero_ps();
  const __m256i nibble = _mm256_set1_epi8(15), two = _mm256_set1_epi8(3);
  for (int64_t k = 0; k < cols; k += 256, w += 210, ++x) {
    const float unit = half_at(w + 208);
    for (int64_t half = 0; half < 2; ++half) {
      __builtin_prefetch(w + 64 * half + kPrefetchBytes);
      const __m256i high = load_bytes(w + 128 + 32 * half);
      for (int64_t j = 0; j < 4; ++j) {
        const int64_t b = 4 * half + j;  // block of 32
        const __m256i raw = load_bytes(w + 64 * half + 32 * (j & 1));
        const __m256i low = _mm256_and_si256(j < 2 ? raw : _mm256_srli_epi16(raw, 4), nibble);
        const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(high, 2 * static_cast<int>(j)), two);
        const __m256i q = _mm256_or_si256(low, _mm256_slli_epi16(bits, 4));
        const __m256i minus_32 = _mm256_srai_epi32(load_bytes(x->offset + 8 * b), 2);
        const __m256i dots = dot_small(minus_32, q, load_bytes(x->q + 32 * b));
        const auto* scales = reinterpret_cast<const int8_t*>(w + 192) + 2 * b;
        const float both = unit * x->scale[b];
        const __m256 scale =
            _mm256_set_m128(_mm_set1_ps(both * scales[1]), _mm_set1_ps(both * scales[0]));
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sum);
      }
    }
  }
  return add_lanes(sum);
}

AXL_TARGET static inline __m256 eight_of_bf16(const std::byte* w) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
AXL_TARGET static inline __m256 eight_of_f16(const std::byte* w) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
}
AXL_TARGET static inline __m256 eight_of_f32(const std::byte* w) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(w));
}

// Four sums, so that an addition need not wait for the one before it. The rest of a row that does
// not fill a register is read through a copy, padded with zeros.
#define AXL_PLAIN_DOT(NAME, EIGHT, BYTES)                                                    \
  AXL_TARGET static float NAME(const std::byte* w, const float* x, int64_t cols) {           \
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),         \
                      _mm256_setzero_ps()};                                                  \
    int64_t k = 0;                                                                           \
    for (; k + 32 <= cols; k += 32) {                                                        \
      for (int64_t line = 0; line < 32 * BYTES; line += 64)                                  \
        __builtin_prefetch(w + k * BYTES + line + kPrefetchBytes);                           \
      for (int i = 0; i < 4; ++i)                                                            \
        sums[i] = _mm256_fmadd_ps(EIGHT(w + (k + 8 * i) * BYTES),                            \
                                  _mm256_loadu_ps(x + k + 8 * i), sums[i]);                  \
    }                                                                                        \
    for (; k < cols; k += 8) {                                                               \
      const int64_t rest = cols - k < 8 ? cols - k : 8;                                      \
      alignas(32) std::byte last_w[32] = {};                                                 \
      alignas(32) float last_x[8] = {};                                                      \
      __builtin_memcpy(last_w, w + k * BYTES, rest * BYTES);                                 \
      __builtin_memcpy(last_x, x + k, rest * sizeof(float));                                 \
      sums[0] = _mm256_fmadd_ps(EIGHT(last_w), _mm256_load_ps(last_x), sums[0]);             \
    }                                                                                        \
    return add_lanes(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]),                          \
                                   _mm256_add_ps(sums[2], sums[3])));                        \
  }
AXL_PLAIN_DOT(dot_bf16, eight_of_bf16, 2)
AXL_PLAIN_DOT(dot_f16, eight_of_f16, 2)
AXL_PLAIN_DOT(dot_f32, eight_of_f32, 4)
#undef AXL_PLAIN_DOT
