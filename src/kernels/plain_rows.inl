// Products of plain rows of weights (f32, f16, bf16) with a few rows of f32 activations, compiled
// once per instruction set by packed_products.cc, which defines AXL_TARGET, the vector operations
// and the namespace around this file. Everything here is static and takes its helpers from the same
// inclusion, so that no instruction leaks into another set's code.
//
// A register tile is kRows rows of W by one to kActivationRows rows of x. Rows of W that are read
// side by side lie in different quarters of W, with one row of x in different halves: CPUs fetch
// several streams of addresses ahead, but one in a page. One Zen 4 core reads bf16 from memory with
// two rows of x at 26 GB/s, and four neighbouring rows of W at 10; one after another, they would
// wait for their sums.
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

/// The tiles of a product that read so many streams of rows: kRows / kStreams neighbours of each.
template <int kStreams>
struct Tiles {
  static constexpr int kNeighbours = kRows / kStreams;
  int64_t rows, count;
  explicit Tiles(int64_t all) : rows(all), count((all + kRows - 1) / kRows) {}
  /// Row i of tile n, if it is below `rows`.
  int64_t row(int64_t n, int i) const {
    return (i % kStreams * count + n) * kNeighbours + i / kStreams;
  }
};

/// Where the rows of a tile begin; the last row stands for those that there are not.
struct RowPointers {
  const std::byte* w[kRows];
};
template <class Tiles>
AXL_INLINE RowPointers tile_rows(const PlainProduct& p, const Tiles& tiles, int64_t n) {
  RowPointers at;
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = tiles.row(n, i);
    at.w[i] = p.w + (row < p.rows ? row : p.rows - 1) * p.row_bytes;
  }
  return at;
}

/// What a tile gives, where it goes.
template <class Tiles>
AXL_INLINE void store_totals(__m128 sums, const Tiles& tiles, int64_t n, float* y, bool add) {
  alignas(16) float out[kRows];
  _mm_store_ps(out, sums);
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = tiles.row(n, i);
    if (row < tiles.rows) y[row] = add ? y[row] + out[i] : out[i];
  }
}

/// Rows of x that stay in the L1 cache while all of W passes by.
AXL_INLINE int64_t rows_in_cache(int64_t row_bytes) {
  const int64_t rows = (int64_t{16} << 10) / row_bytes / kActivationRows * kActivationRows;
  return rows > kActivationRows ? rows : kActivationRows;
}

template <class Row, int kStreams, int kXRows, bool kAsks>
AXL_TARGET static void multiply_plain_tile(const PlainProduct& p, const Tiles<kStreams>& tiles,
                                           int64_t n, int64_t r) {
  Sums sums[kXRows][kRows];
#pragma GCC unroll 4
  for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) sums[j][i] = zero_sums();
  const RowPointers at = tile_rows(p, tiles, n);
  const float* x = p.x + r * p.x_stride;
  const int64_t whole = p.cols / 16 * 16;
#pragma GCC unroll 4
  for (int first = 0; first < kRows; first += kStreams) {
    for (int64_t k = 0; k < whole; k += 16) {
#pragma GCC unroll 4
      for (int i = first; i < first + kStreams; ++i) {
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
    store_totals(totals(sums[j]), tiles, n, p.y + (r + j) * p.y_stride, p.add);
}

/// The last rows of x, fewer than kActivationRows.
template <class Row, int kStreams, bool kAsks>
AXL_TARGET static void multiply_plain_rest(const PlainProduct& p, const Tiles<kStreams>& tiles,
                                           int64_t n, int64_t r, int64_t rows) {
  if constexpr (kActivationRows > 3)
    if (rows == 3) return multiply_plain_tile<Row, kStreams, 3, kAsks>(p, tiles, n, r);
  if constexpr (kActivationRows > 2)
    if (rows == 2) return multiply_plain_tile<Row, kStreams, 2, kAsks>(p, tiles, n, r);
  if constexpr (kActivationRows > 1)
    if (rows == 1) multiply_plain_tile<Row, kStreams, 1, kAsks>(p, tiles, n, r);
}

template <class Row, int kStreams, bool kAsks>
AXL_TARGET static void multiply_plain_rows(const PlainProduct& p) {
  const Tiles<kStreams> tiles(p.rows);
  const int64_t chunk = rows_in_cache(p.cols * sizeof(float));
  for (int64_t begin = 0; begin < p.x_rows; begin += chunk) {
    const int64_t end = begin + chunk < p.x_rows ? begin + chunk : p.x_rows;
    for (int64_t n = 0; n < tiles.count; ++n) {
      int64_t r = begin;
      for (; r + kActivationRows <= end; r += kActivationRows)
        multiply_plain_tile<Row, kStreams, kActivationRows, kAsks>(p, tiles, n, r);
      multiply_plain_rest<Row, kStreams, kAsks>(p, tiles, n, r, end - r);
    }
  }
}

template <class Row, bool kAsks>
AXL_TARGET static void multiply_plain_all(const PlainProduct& p) {
  return p.x_rows == 1 ? multiply_plain_rows<Row, 2, kAsks>(p)
                       : multiply_plain_rows<Row, kRows, kAsks>(p);
}

template <class Row>
AXL_TARGET static void multiply_plain(const PlainProduct& p) {
  return asked_rows().whole == 1 ? multiply_plain_all<Row, true>(p)
                                 : multiply_plain_all<Row, false>(p);
}
