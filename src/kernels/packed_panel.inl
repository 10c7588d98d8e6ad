// Products of coded rows with many rows of activations, for VNNI with 512-bit registers. Included by
// packed_dot.cc after packed_dot.inl, whose rows it unpacks.
//
// Sixteen rows of W become a panel: four neighbours of each row side by side, so that one
// instruction multiplies them by four neighbours of x and the lanes of a register are elements of y.
// A block is then summed as an integer, where the register tiles of packed_dot.inl keep eight partial
// sums of it: the same products, summed in another order.

constexpr int kPanelRows = 16;
constexpr int kXRows = 8;  // whose sums stay in registers while a panel passes by

/// Sixteen rows of W, 256 elements of each.
template <class Row>
struct alignas(64) Panel {
  uint8_t codes[64][kPanelRows][4];
  float scales[Row::kScales][kPanelRows];
  float minima[Row::kHasMinima ? 8 : 1][kPanelRows];
};

AXL_INLINE void store_scales(float* out, __m256 eight) { _mm256_storeu_ps(out, eight); }
AXL_INLINE void store_scales(float* out, __m512 sixteen) { _mm512_storeu_ps(out, sixteen); }

// Transposes 16 x 16 groups of four bytes.
AXL_INLINE void transpose(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Each quarter of v[4 i + j] now holds column 4 · quarter + j of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

/// Rows that there are not count as zeros, and so do elements beyond `bytes` of a row's piece.
template <class Row>
AXL_TARGET static void unpack(const std::byte* w, int64_t row_bytes, int64_t rows, int64_t bytes,
                              Panel<Row>& panel) {
  alignas(64) uint8_t codes[kPanelRows][256];
  for (int i = 0; i < kPanelRows; ++i) {
    std::byte padded[Row::kBytes] = {};
    const std::byte* piece = w + i * row_bytes;
    if (i >= rows || bytes < Row::kBytes) {
      if (i < rows) __builtin_memcpy(padded, piece, bytes);
      piece = padded;
    }
    const Row row = Row::at(piece);
    float scales[Row::kScales];
    store_scales(scales, row.scales);
    for (int s = 0; s < Row::kScales; ++s) panel.scales[s][i] = scales[s];
    if constexpr (Row::kHasMinima) {
      float minima[8];
      _mm256_storeu_ps(minima, row.minima);
      for (int b = 0; b < 8; ++b) panel.minima[b][i] = minima[b];
    }
    for (int pair = 0; pair < 4; ++pair)
      _mm512_store_si512(codes[i] + 64 * pair, codes_of(row, pair));
  }
  for (int pair = 0; pair < 4; ++pair) {
    __m512i v[kPanelRows];
#pragma GCC unroll 16
    for (int i = 0; i < kPanelRows; ++i) v[i] = _mm512_load_si512(codes[i] + 64 * pair);
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kPanelRows; ++i) _mm512_store_si512(panel.codes[16 * pair + i], v[i]);
  }
}

/// Adds 256 elements: row j's piece of x is x[j · x_stride].
template <class Row, int kRowsOfX>
AXL_INLINE void add_panel(const Panel<Row>& panel, const ActivationBlock* x, int64_t x_stride,
                          __m512 (&sums)[kRowsOfX]) {
  constexpr int kGroups = 64 / Row::kScales;  // of four neighbours that share a scale
  for (int s = 0; s < Row::kScales; ++s) {
    __m512i dots[kRowsOfX];
#pragma GCC unroll 8
    for (int j = 0; j < kRowsOfX; ++j) {
      const int32_t* q_sum = x[j * x_stride].half_sum + 16 / Row::kScales * s;
      const int32_t sum = Row::kScales == 16 ? q_sum[0] : q_sum[0] + q_sum[1];
      dots[j] = _mm512_set1_epi32(-Row::kAdded * sum);
    }
#pragma GCC unroll 8
    for (int g = kGroups * s, end = g + kGroups; g < end; ++g) {
      const __m512i w = _mm512_load_si512(panel.codes[g]);
#pragma GCC unroll 8
      for (int j = 0; j < kRowsOfX; ++j) {
        int32_t four;
        __builtin_memcpy(&four, x[j * x_stride].q + 4 * g, sizeof(four));
        dots[j] = _mm512_dpbusd_epi32(dots[j], w, _mm512_set1_epi32(four));
      }
    }
    const __m512 scale = _mm512_load_ps(panel.scales[s]);
#pragma GCC unroll 8
    for (int j = 0; j < kRowsOfX; ++j) {
      const float x_scale = x[j * x_stride].half_scale[16 / Row::kScales * s];
      sums[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[j]),
                                _mm512_mul_ps(scale, _mm512_set1_ps(x_scale)), sums[j]);
    }
  }
  if constexpr (Row::kHasMinima)
    for (int b = 0; b < 8; ++b) {
      const __m512 minima = _mm512_load_ps(panel.minima[b]);
#pragma GCC unroll 8
      for (int j = 0; j < kRowsOfX; ++j)
        sums[j] = _mm512_fnmadd_ps(minima, _mm512_set1_ps(x[j * x_stride].sum[b]), sums[j]);
    }
}

template <class Row, int kRowsOfX>
AXL_TARGET static void multiply_panels(const Panel<Row>* panels, const CodedProduct& p, int64_t n,
                                       int64_t r) {
  const int64_t pieces = (p.cols + 255) / 256;
  const ActivationBlock* x = p.x + r * pieces;
  __m512 sums[kRowsOfX];
#pragma GCC unroll 8
  for (int j = 0; j < kRowsOfX; ++j) sums[j] = _mm512_setzero_ps();
  for (int64_t i = 0; i < pieces; ++i) add_panel<Row>(panels[i], x + i, pieces, sums);
  const int64_t rows = p.rows - n;
  const auto mask = static_cast<__mmask16>(rows >= kPanelRows ? 0xffff : (1 << rows) - 1);
#pragma GCC unroll 8
  for (int j = 0; j < kRowsOfX; ++j) {
    float* y = p.y + (r + j) * p.y_stride + n;
    if (p.add) sums[j] = _mm512_add_ps(sums[j], _mm512_maskz_loadu_ps(mask, y));
    _mm512_mask_storeu_ps(y, mask, sums[j]);
  }
}

template <class Row>
AXL_TARGET static void multiply_many(const CodedProduct& p) {
  const int64_t pieces = (p.cols + 255) / 256;
  thread_local Buffer room;
  if (room.bytes() < sizeof(Panel<Row>) * pieces) room = Buffer(sizeof(Panel<Row>) * pieces);
  auto* panels = static_cast<Panel<Row>*>(room.data());
  for (int64_t n = 0; n < p.rows; n += kPanelRows) {
    const std::byte* w = p.w + n * p.row_bytes;
    for (int64_t i = 0; i < pieces; ++i)
      unpack<Row>(w + i * Row::kBytes, p.row_bytes, p.rows - n, p.row_bytes - i * Row::kBytes,
                  panels[i]);
    int64_t r = 0;
    for (; r + kXRows <= p.x_rows; r += kXRows) multiply_panels<Row, kXRows>(panels, p, n, r);
    for (; r < p.x_rows; ++r) multiply_panels<Row, 1>(panels, p, n, r);
  }
}
