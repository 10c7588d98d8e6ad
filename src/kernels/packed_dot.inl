// Products of coded rows, compiled once per instruction set by packed_dot.cc, which defines
// AXL_TARGET, the operations on pairs of blocks and the namespace around this file. Everything here
// is static and takes its helpers from the same inclusion, so that no instruction leaks into
// another set's code.
//
// A register tile is kRows rows of W by one or kActivationRows rows of x, and walks along both in
// pieces of 256 elements: four pairs of blocks. With one row of x, reading W is the cost, so its rows
// are read one after another: the CPU fetches one stream of addresses ahead, but not four side by
// side (one Zen 4 core: 29 against 13 GB/s; prefetch instructions gain less).
//
// An element of y is summed in the same order whatever the tile and the instruction set: in sixteen
// partial sums, eight of them of the even blocks.

constexpr int kRows = 4;

AXL_INLINE float half_at(const std::byte* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

AXL_INLINE short bits_at(const std::byte* p) {
  short bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return bits;
}

// ---- What a row of weights holds for 256 elements -----------------------------------------------
//
// codes_of() are the weights' integers for a pair of blocks, scales_of() the scales of a whole piece,
// of weights times activations, and spread() those of a pair. dots() multiplies codes by activations;
// less_minima() takes off what a row's minima add.

struct Q8Row {
  static constexpr int64_t kBytes = 8 * 34;
  static constexpr int kScales = 8, kAdded = 128;  // to each weight, where codes are unsigned
  static constexpr int kZero = 0;                  // the code of a weight of 0, as it is stored
  static constexpr bool kHasMinima = false;
  static constexpr bool kEndsEarly = true;  // rows are padded to 32 elements, not to 256
  const std::byte* w;
  __m256 scales;

  AXL_INLINE Q8Row at(const std::byte* w) {
    __m128i halves = _mm_cvtsi32_si128(static_cast<uint16_t>(bits_at(w)));
    halves = _mm_insert_epi16(halves, bits_at(w + 34), 1);
    halves = _mm_insert_epi16(halves, bits_at(w + 68), 2);
    halves = _mm_insert_epi16(halves, bits_at(w + 102), 3);
    halves = _mm_insert_epi16(halves, bits_at(w + 136), 4);
    halves = _mm_insert_epi16(halves, bits_at(w + 170), 5);
    halves = _mm_insert_epi16(halves, bits_at(w + 204), 6);
    halves = _mm_insert_epi16(halves, bits_at(w + 238), 7);
    return {w, _mm256_cvtph_ps(halves)};
  }
  AXL_INLINE Q8Row at_end(const std::byte* w, int blocks) {
    alignas(32) float scales[8] = {};
    for (int b = 0; b < blocks; ++b) scales[b] = half_at(w + 34 * b);
    return {w, _mm256_load_ps(scales)};
  }
};
AXL_INLINE Codes codes_of(const Q8Row& r, int pair) {
  return prepare_signed(load_pair(r.w + 68 * pair + 2, r.w + 68 * pair + 36));
}
AXL_INLINE Codes last_codes_of(const Q8Row& r, int pair) {  // of a block without a second
  return prepare_signed(load_first(r.w + 68 * pair + 2));
}
AXL_INLINE PieceScales scales_of(const Q8Row& r, const ActivationBlock& x) {
  return times_block_scales(r.scales, x);
}
AXL_INLINE Sums spread(const Q8Row&, const PieceScales& s, int pair) { return spread_by_8(s, pair); }
AXL_INLINE Sums dots(const Q8Row&, Codes w, const Activations& x) { return dots_signed(w, x); }
AXL_INLINE Sums less_minima(const Q8Row&, const ActivationBlock&, Sums sum) { return sum; }

struct Q4Row {
  static constexpr int64_t kBytes = 144;
  static constexpr int kScales = 8, kAdded = 0, kZero = 0;
  static constexpr bool kHasMinima = true;
  static constexpr bool kEndsEarly = false;
  const std::byte* w;
  __m256 scales, minima;

  // Eight 6-bit scales and eight 6-bit minima, packed in 12 bytes: the first four of each in the
  // low bits of bytes 0-3 and 4-7, the others in the nibbles of 8-11 and the high bits of 0-3 and
  // 4-7.
  AXL_INLINE Q4Row at(const std::byte* w) {
    uint64_t first;
    uint32_t last;
    __builtin_memcpy(&first, w + 4, sizeof(first));
    __builtin_memcpy(&last, w + 12, sizeof(last));
    const uint64_t nibbles = (last & 0x0f0f0f0f) | uint64_t{last >> 4 & 0x0f0f0f0f} << 32;
    const uint64_t low = first & 0x3f3f3f3f3f3f3f3f;
    const uint64_t high = nibbles | (first >> 2 & 0x3030303030303030);
    // Four scales and four minima in each; then eight of either.
    const __m128i bytes = _mm_shuffle_epi32(
        _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low)), 0xd8);
    const __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    const __m256 minima = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
    return {w, _mm256_mul_ps(scales, _mm256_set1_ps(half_at(w))),
            _mm256_mul_ps(minima, _mm256_set1_ps(half_at(w + 2)))};
  }
};
AXL_INLINE Codes codes_of(const Q4Row& r, int pair) { return load_nibbles(r.w + 16 + 32 * pair); }
AXL_INLINE PieceScales scales_of(const Q4Row& r, const ActivationBlock& x) {
  return times_block_scales(r.scales, x);
}
AXL_INLINE Sums spread(const Q4Row&, const PieceScales& s, int pair) { return spread_by_8(s, pair); }
AXL_INLINE Sums dots(const Q4Row&, Codes w, const Activations& x) { return dots_small<Q4Row::kAdded>(w, x); }
AXL_INLINE Sums less_minima(const Q4Row& r, const ActivationBlock& x, Sums sum) {
  return subtract(sum, r.minima, _mm256_load_ps(x.sum));
}

struct Q6Row {
  static constexpr int64_t kBytes = 210;
  static constexpr int kScales = 16, kAdded = 32, kZero = 32;
  static constexpr bool kHasMinima = false;
  static constexpr bool kEndsEarly = false;
  const std::byte* w;
  RowScales scales;

  AXL_INLINE Q6Row at(const std::byte* w) {
    const __m128i scales = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + 192));
    const __m256 unit = _mm256_set1_ps(half_at(w + 208));
    const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales));
    const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(scales, 8)));
    return {w, sixteen(_mm256_mul_ps(first, unit), _mm256_mul_ps(second, unit))};
  }
};
// Each half of 128 elements: 64 bytes whose low nibbles are the first pair and whose high nibbles
// are the second, and 32 bytes with two more bits for each of the four blocks.
AXL_INLINE Codes codes_of(const Q6Row& r, int pair) {
  const int half = pair / 2, second = pair % 2;
  return with_high_bits(load_half_bytes(r.w + 64 * half, second), r.w + 128 + 32 * half,
                        4 * second);
}
AXL_INLINE PieceScales scales_of(const Q6Row& r, const ActivationBlock& x) {
  return times_half_scales(r.scales, x);
}
AXL_INLINE Sums spread(const Q6Row&, const PieceScales& s, int pair) { return spread_by_4(s, pair); }
AXL_INLINE Sums dots(const Q6Row&, Codes w, const Activations& x) { return dots_small<Q6Row::kAdded>(w, x); }
AXL_INLINE Sums less_minima(const Q6Row&, const ActivationBlock&, Sums sum) { return sum; }

// ---- Register tiles -----------------------------------------------------------------------------

/// Adds 256 elements of rows [first, first + kTogether) of W; row j's piece of x is x[j · x_stride].
template <class Row, int kTogether, int kXRows>
AXL_INLINE void add_piece(const std::byte* const (&w)[kRows], int first, const ActivationBlock* x,
                          int64_t x_stride, Sums (&sums)[kXRows][kRows]) {
  Row row[kTogether];
  PieceScales scales[kXRows][kTogether];
#pragma GCC unroll 4
  for (int i = 0; i < kTogether; ++i) {
    row[i] = Row::at(w[first + i]);
#pragma GCC unroll 4
    for (int j = 0; j < kXRows; ++j) scales[j][i] = scales_of(row[i], x[j * x_stride]);
  }
#pragma GCC unroll 4
  for (int pair = 0; pair < 4; ++pair) {
    Codes codes[kTogether];
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) codes[i] = codes_of(row[i], pair);
#pragma GCC unroll 4
    for (int j = 0; j < kXRows; ++j) {
      const Activations a = activations(x[j * x_stride], pair);
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i)
        sums[j][first + i] = add_scaled(sums[j][first + i], dots(row[i], codes[i], a),
                                        spread(row[i], scales[j][i], pair));
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i)
      sums[j][first + i] = less_minima(row[i], x[j * x_stride], sums[j][first + i]);
}

/// The same for a row's last `blocks` < 8 blocks; nothing is read beyond them.
template <class Row, int kXRows>
AXL_INLINE void add_end(const std::byte* const (&w)[kRows], int blocks, const ActivationBlock* x,
                        int64_t x_stride, Sums (&sums)[kXRows][kRows]) {
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    const Row row = Row::at_end(w[i], blocks);
    PieceScales scales[kXRows];
#pragma GCC unroll 4
    for (int j = 0; j < kXRows; ++j) scales[j] = scales_of(row, x[j * x_stride]);
    for (int pair = 0; 2 * pair < blocks; ++pair) {
      const Codes codes = 2 * pair + 1 < blocks ? codes_of(row, pair) : last_codes_of(row, pair);
#pragma GCC unroll 4
      for (int j = 0; j < kXRows; ++j)
        sums[j][i] =
            add_scaled(sums[j][i], dots(row, codes, activations(x[j * x_stride], pair)),
                       spread(row, scales[j], pair));
    }
  }
}

/// The sums of four rows, each over its sixteen partial sums.
AXL_INLINE __m128 totals(const Sums (&sums)[kRows]) {
  const __m256 first = _mm256_hadd_ps(halves_added(sums[0]), halves_added(sums[1]));
  const __m256 second = _mm256_hadd_ps(halves_added(sums[2]), halves_added(sums[3]));
  const __m256 all = _mm256_hadd_ps(first, second);
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

/// What a tile gives, where it goes. The last tile of W may have fewer than kRows rows.
AXL_INLINE void store_totals(__m128 sums, float* y, int64_t rows, bool add) {
  if (rows >= kRows) {
    _mm_storeu_ps(y, add ? _mm_add_ps(_mm_loadu_ps(y), sums) : sums);
    return;
  }
  alignas(16) float out[kRows];
  _mm_store_ps(out, sums);
  for (int64_t i = 0; i < rows; ++i) y[i] = add ? y[i] + out[i] : out[i];
}

/// Where the rows of a tile begin; the last row stands for those that there are not.
struct RowPointers {
  const std::byte* w[kRows];
};
AXL_INLINE RowPointers tile_rows(const std::byte* w, int64_t row_bytes, int64_t rows) {
  RowPointers p;
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) p.w[i] = w + (i < rows ? i : rows - 1) * row_bytes;
  return p;
}

/// y[r …][n …] of a tile.
template <class Row, int kXRows>
AXL_TARGET static void multiply_coded_tile(const CodedProduct& p, int64_t n, int64_t r) {
  Sums sums[kXRows][kRows];
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) sums[j][i] = zero_sums();
  RowPointers at = tile_rows(p.w + n * p.row_bytes, p.row_bytes, p.rows - n);
  const int64_t x_stride = (p.cols + 255) / 256;
  const ActivationBlock* x = p.x + r * x_stride;
  const int64_t whole = Row::kEndsEarly ? p.cols / 256 : x_stride;
  constexpr int kTogether = kXRows == 1 ? 1 : kRows;
#pragma GCC unroll 4
  for (int first = 0; first < kRows; first += kTogether) {
    for (int64_t piece = 0; piece < whole; ++piece) {
      add_piece<Row, kTogether>(at.w, first, x + piece, x_stride, sums);
#pragma GCC unroll 4
      for (int i = first; i < first + kTogether; ++i) at.w[i] += Row::kBytes;
    }
  }
  x += whole;
  if constexpr (Row::kEndsEarly)
    if (const int blocks = static_cast<int>((p.cols - 256 * whole + 31) / 32))
      add_end<Row, kXRows>(at.w, blocks, x, x_stride, sums);
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
    store_totals(totals(sums[j]), p.y + (r + j) * p.y_stride + n, p.rows - n, p.add);
}

/// Rows of x that stay in the L1 cache while all of W passes by.
AXL_INLINE int64_t rows_in_cache(int64_t row_bytes) {
  const int64_t rows = (int64_t{16} << 10) / row_bytes / kActivationRows * kActivationRows;
  return rows > kActivationRows ? rows : kActivationRows;
}

template <class Row>
AXL_TARGET static void multiply_coded(const CodedProduct& p) {
  const int64_t chunk = rows_in_cache((p.cols + 255) / 256 * sizeof(ActivationBlock));
  for (int64_t begin = 0; begin < p.x_rows; begin += chunk) {
    const int64_t end = begin + chunk < p.x_rows ? begin + chunk : p.x_rows;
    for (int64_t n = 0; n < p.rows; n += kRows) {
      int64_t r = begin;
      for (; r + kActivationRows <= end; r += kActivationRows)
        multiply_coded_tile<Row, kActivationRows>(p, n, r);
      for (; r < end; ++r) multiply_coded_tile<Row, 1>(p, n, r);
    }
  }
}

// ---- Plain weights ------------------------------------------------------------------------------

struct Bf16Row {
  static constexpr int64_t kBytes = 2;
};
struct F16Row {
  static constexpr int64_t kBytes = 2;
};
struct F32Row {
  static constexpr int64_t kBytes = 4;
};
AXL_INLINE Sums values_of(Bf16Row, const std::byte* w) { return values_of_bf16(w); }
AXL_INLINE Sums values_of(F16Row, const std::byte* w) { return values_of_f16(w); }
AXL_INLINE Sums values_of(F32Row, const std::byte* w) { return values_of_f32(w); }

template <class Row, int kXRows>
AXL_TARGET static void multiply_plain_tile(const PlainProduct& p, int64_t n, int64_t r) {
  Sums sums[kXRows][kRows];
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) sums[j][i] = zero_sums();
  RowPointers at = tile_rows(p.w + n * p.row_bytes, p.row_bytes, p.rows - n);
  const float* x = p.x + r * p.x_stride;
  const int64_t whole = p.cols / 16 * 16;
  constexpr int kTogether = kXRows == 1 ? 1 : kRows;
#pragma GCC unroll 4
  for (int first = 0; first < kRows; first += kTogether) {
    for (int64_t k = 0; k < whole; k += 16) {
#pragma GCC unroll 4
      for (int i = first; i < first + kTogether; ++i) {
        const Sums values = values_of(Row(), at.w[i] + k * Row::kBytes);
#pragma GCC unroll 4
        for (int j = 0; j < kXRows; ++j)
          sums[j][i] = add_products(sums[j][i], values, x + j * p.x_stride + k);
      }
    }
  }
  // The rest of a row is read through a copy, padded with zeros.
  if (const int64_t rest = p.cols - whole) {
    for (int i = 0; i < kRows; ++i) {
      alignas(64) std::byte w[16 * 4] = {};
      __builtin_memcpy(w, at.w[i] + whole * Row::kBytes, rest * Row::kBytes);
      for (int j = 0; j < kXRows; ++j) {
        alignas(64) float last[16] = {};
        __builtin_memcpy(last, x + j * p.x_stride + whole, rest * sizeof(float));
        sums[j][i] = add_products(sums[j][i], values_of(Row(), w), last);
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
    store_totals(totals(sums[j]), p.y + (r + j) * p.y_stride + n, p.rows - n, p.add);
}

template <class Row>
AXL_TARGET static void multiply_plain(const PlainProduct& p) {
  const int64_t chunk = rows_in_cache(p.cols * sizeof(float));
  for (int64_t begin = 0; begin < p.x_rows; begin += chunk) {
    const int64_t end = begin + chunk < p.x_rows ? begin + chunk : p.x_rows;
    for (int64_t n = 0; n < p.rows; n += kRows) {
      int64_t r = begin;
      for (; r + kActivationRows <= end; r += kActivationRows)
        multiply_plain_tile<Row, kActivationRows>(p, n, r);
      for (; r < end; ++r) multiply_plain_tile<Row, 1>(p, n, r);
    }
  }
}
