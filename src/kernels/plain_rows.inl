// Products of plain rows of weights (f32, f16, bf16) with a few rows of f32 activations, compiled
// once per instruction set by packed_products.cc, which defines AXL_TARGET, the vector operations
// and the namespace around this file. Everything here is static and takes its helpers from the same
// inclusion, so that no instruction leaks into another set's code.
//
// A register tile is kRows rows of W by one or kActivationRows rows of x. With one row of x,
// reading W is the cost, so its rows are read one after another: the CPU fetches one stream of
// addresses ahead, but not four side by side (one Zen 5 core: 29 against 13 GB/s; asking gains
// less).
//
// An element of y is summed in the same order whatever the tile and the instruction set: in sixteen
// partial sums.

constexpr int kRows = 4;

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

/// Rows of x that stay in the L1 cache while all of W passes by.
AXL_INLINE int64_t rows_in_cache(int64_t row_bytes) {
  const int64_t rows = (int64_t{16} << 10) / row_bytes / kActivationRows * kActivationRows;
  return rows > kActivationRows ? rows : kActivationRows;
}

template <class Row, int kXRows, bool kAsks>
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
        const std::byte* w = at.w[i] + k * Row::kBytes;
        if constexpr (kAsks) _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead, _MM_HINT_T0);
        const Sums values = values_of(Row(), w);
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

/// The last rows of x, fewer than kActivationRows.
template <class Row, bool kAsks>
AXL_TARGET static void multiply_plain_rest(const PlainProduct& p, int64_t n, int64_t r,
                                           int64_t rows) {
  if constexpr (kActivationRows > 3)
    if (rows == 3) return multiply_plain_tile<Row, 3, kAsks>(p, n, r);
  if constexpr (kActivationRows > 2)
    if (rows == 2) return multiply_plain_tile<Row, 2, kAsks>(p, n, r);
  if constexpr (kActivationRows > 1)
    if (rows == 1) multiply_plain_tile<Row, 1, kAsks>(p, n, r);
}

template <class Row, bool kAsks>
AXL_TARGET static void multiply_plain_rows(const PlainProduct& p) {
  const int64_t chunk = rows_in_cache(p.cols * sizeof(float));
  for (int64_t begin = 0; begin < p.x_rows; begin += chunk) {
    const int64_t end = begin + chunk < p.x_rows ? begin + chunk : p.x_rows;
    for (int64_t n = 0; n < p.rows; n += kRows) {
      int64_t r = begin;
      for (; r + kActivationRows <= end; r += kActivationRows)
        multiply_plain_tile<Row, kActivationRows, kAsks>(p, n, r);
      multiply_plain_rest<Row, kAsks>(p, n, r, end - r);
    }
  }
}

template <class Row>
AXL_TARGET static void multiply_plain(const PlainProduct& p) {
  return asked_rows().whole == 1 ? multiply_plain_rows<Row, true>(p)
                                 : multiply_plain_rows<Row, false>(p);
}
