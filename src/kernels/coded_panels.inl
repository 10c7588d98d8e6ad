// Products of block-coded rows of weights, compiled once per instruction set by packed_products.cc,
// which defines AXL_TARGET, the vector operations and the namespace around this file. Everything
// here is static and takes its helpers from the same inclusion, so that no instruction leaks into
// another set's code.
//
// A *panel* is kLanes rows of W, interleaved: four neighbours of each row side by side, so that one
// instruction multiplies them by four neighbours of x, and the lanes of a register are elements of
// y. Nothing is summed across lanes, and a panel is as large as the rows were (q6_k: 1 % larger).
// llama.cpp interleaves for the same reasons.
//
// A panel is read from its first byte to its last, by a short loop: CPUs that fetch ahead follow
// each load of it. One Zen 4 core reads q4_k from memory at 30 GB/s like this, at 27 where a line
// of scales is read out of turn, and at 11 with 256 elements of 32 rows unrolled.
//
// An element of y is summed in the same order whatever the instruction set and the number of rows
// of x: block after block, each of which is summed as an integer.

/// Blocks have 32 elements; 8 of them share an ActivationBlock.
constexpr int64_t blocks_in(int64_t cols) { return (cols + 31) / 32; }
constexpr int64_t pieces_in(int64_t cols) { return (cols + 255) / 256; }

// ---- What panels hold ---------------------------------------------------------------------------
//
// pack() interleaves rows as GGUF files have them; a row that is not there counts as zeros. Eight
// blocks, 256 elements of each row, are a *piece*, and are taken in pairs: of the blocks b + i, b
// even and i known to the compiler, codes() are elements 4 g to 4 g + 3 of each row, for kShared
// blocks whose codes lie in the same bytes. header() is what is read once of a piece; scale() is
// that of half h of a block, in units of unit(). What dot() wants added for codes that are stored
// with an offset is in start().

inline uint32_t load_four(const std::byte* from) {
  uint32_t four;
  __builtin_memcpy(&four, from, 4);
  return four;
}
/// Into bytes whose bits are zeros where `four` has some.
inline void add_four(uint32_t four, std::byte* to) {
  four |= load_four(to);
  __builtin_memcpy(to, &four, 4);
}
/// Puts `count` bytes of a row into `lane`, four by four, less the bits that `flip` has.
inline void interleave(const std::byte* from, int64_t count, int lane, std::byte* to,
                       uint32_t flip = 0) {
  for (int64_t i = 0; i < count; i += 4) {
    const uint32_t four = load_four(from + i) ^ flip;
    __builtin_memcpy(to + i * kLanes + 4 * lane, &four, 4);
  }
}
inline void put_half(const std::byte* from, int lane, std::byte* to) {
  __builtin_memcpy(to + 2 * lane, from, 2);
}

/// For each pair of blocks: [g][lane][4] codes of the first, [block][lane] scales in f16, codes of
/// the second.
struct Q8Panel {
  using Codes = SignedCodes;
  struct Header {};
  static constexpr int kScales = 1;  // of a block
  static constexpr int kShared = 1;
  static constexpr bool kHasUnit = false, kHasMinima = false, kIsPacked = false;
  static constexpr int kNarrowGroups = 1;  // whose sums fit what dot() adds them up in
  static constexpr int kBlockScales = 32 * kLanes, kSecondCodes = 36 * kLanes, kPair = 68 * kLanes,
                       kPiece = 4 * kPair;
  const std::byte* piece;

  static constexpr int64_t bytes(int64_t cols) { return kPair * ((blocks_in(cols) + 1) / 2); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t b = 0; b < blocks_in(cols); ++b, row += 34) {
      std::byte* pair = panel + b / 2 * kPair;
      interleave(row + 2, 32, lane, pair + b % 2 * kSecondCodes, kFlippedSigns);
      put_half(row, lane, pair + kBlockScales + b % 2 * 2 * kLanes);
    }
  }
};
AXL_INLINE const std::byte* pair(const Q8Panel& p, int64_t b) {
  return p.piece + b / 2 * Q8Panel::kPair;
}
AXL_INLINE void codes(const Q8Panel& p, int64_t b, int i, int g, SignedCodes (&to)[1]) {
  to[0] = signed_codes(load_codes(pair(p, b) + i * Q8Panel::kSecondCodes + g * 4 * kLanes));
}
AXL_INLINE Q8Panel::Header header(const Q8Panel&) { return {}; }
AXL_INLINE Floats scale(const Q8Panel& p, Q8Panel::Header, int64_t b, int i, int) {
  return load_halves(pair(p, b) + Q8Panel::kBlockScales + i * 2 * kLanes);
}
AXL_INLINE Ints start(const Q8Panel&, const ActivationBlock& x, int64_t b, int i, int) {
  return signed_start(x.less_128[b + i]);
}

/// For each piece: unit and unit of the minima, in f16; [3][lane][4] six bits for the scale and the
/// minimum of each block, packed as in the file; [pair of blocks][g][lane][4] pairs of codes.
struct Q4Panel {
  using Codes = SmallCodes;
  struct Header {
    Floats unit;
    SmallCodes scales[2];
  };
  static constexpr int kScales = 1, kShared = 2;
  static constexpr bool kHasUnit = true, kHasMinima = true, kIsPacked = true;
  static constexpr int kNarrowGroups = 8;  // 8 · 2 · 15 · 127 is less than 2^15
  static constexpr int kMinUnits = 2 * kLanes, kSixBits = 4 * kLanes, kCodes = 16 * kLanes,
                       kPiece = 144 * kLanes;
  const std::byte* piece;

  static constexpr int64_t bytes(int64_t cols) { return kPiece * pieces_in(cols); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t i = 0; i < pieces_in(cols); ++i, row += 144, panel += kPiece) {
      put_half(row, lane, panel);
      put_half(row + 2, lane, panel + kMinUnits);
      interleave(row + 4, 140, lane, panel + kSixBits);
    }
  }
};
AXL_INLINE void codes(const Q4Panel& p, int64_t b, int, int g, SmallCodes (&to)[2]) {
  const Bytes both = load_codes(p.piece + Q4Panel::kCodes + (4 * b + g) * 4 * kLanes);
  to[0] = low_nibbles(both);
  to[1] = high_nibbles(both);
}
/// Fours of the twelve bytes: scales 0 to 3 in the low six bits of the first, minima 0 to 3 in
/// those of the second; low nibbles of scales 4 to 7, and of minima 4 to 7, in the third, with
/// their two high bits where the first, and the second, have room.
AXL_INLINE Bytes six_bits(const Q4Panel& p, int n) {
  return load_codes(p.piece + Q4Panel::kSixBits + n * 4 * kLanes);
}
AXL_INLINE Q4Panel::Header header(const Q4Panel& p) {
  return {times(load_halves(p.piece), all_floats(1.0f / (1 << kHighNibbleShift))),
          {low_six(six_bits(p, 0)),
           nibbles_with_two(six_bits(p, 2), shifted_right(six_bits(p, 0), 2))}};
}
/// That of a block of low nibbles is larger by as much as high_nibbles() are too large.
AXL_INLINE Floats scale(const Q4Panel&, const Q4Panel::Header& h, int64_t b, int i, int) {
  const int up = i % 2 == 0 ? kHighNibbleShift : 0;
  return floats(bits(from_bit(h.scales[b / 4], 8 * (b % 4)), 8 * i - up, 63 << up));
}
AXL_INLINE Floats unit(const Q4Panel&, const Q4Panel::Header& h) { return h.unit; }
AXL_INLINE Floats min_unit(const Q4Panel& p) { return load_halves(p.piece + Q4Panel::kMinUnits); }
/// Those of blocks 0 to 3, or of 4 to 7.
AXL_INLINE SmallCodes minima(const Q4Panel& p, int half) {
  return half == 0
             ? low_six(six_bits(p, 1))
             : nibbles_with_two(shifted_right(six_bits(p, 2), 4), shifted_right(six_bits(p, 1), 2));
}
AXL_INLINE Ints start(const Q4Panel&, const ActivationBlock&, int64_t, int, int) {
  return all_ints(0);
}

/// For each pair of blocks, two g at a time: [lane][4] fours of two high bits (of the first g both
/// blocks', then of the second), [g][lane][4] pairs of low nibbles; in the middle of them [half of
/// a block][lane] scales of a byte each. After the pairs of a piece its unit, in f16.
struct Q6Panel {
  using Codes = SmallCodes;
  struct Header {};
  static constexpr int kScales = 2, kShared = 2;
  static constexpr bool kHasUnit = true, kHasMinima = false, kIsPacked = true;
  static constexpr int kNarrowGroups = 2;  // 2 · 2 · 63 · 127
  static constexpr int kGroup = 4 * kLanes, kBlockScales = 6 * kGroup, kPair = 13 * kGroup,
                       kUnit = 4 * kPair, kPiece = kUnit + kGroup;
  const std::byte* piece;

  // Places of g in a pair.
  static constexpr int high_codes(int g) { return (g / 2 * 3 + g / 4) * kGroup; }
  static constexpr int low_codes(int g) { return high_codes(g) + (1 + g % 2) * kGroup; }

  static constexpr int64_t bytes(int64_t cols) { return kPiece * pieces_in(cols); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t i = 0; i < pieces_in(cols); ++i, row += 210, panel += kPiece) {
      put_half(row + 208, lane, panel + kUnit);
      for (int b = 0; b < 8; ++b) {
        std::byte* pair = panel + b / 2 * kPair;
        for (int h = 0; h < 2; ++h)
          pair[kBlockScales + (b % 2 * 2 + h) * kLanes + lane] = row[192 + 2 * b + h];
        // Four blocks share bytes of the file: two the low nibbles, all of them the high bits.
        const std::byte* low = row + b / 4 * 64 + b % 2 * 32;
        const std::byte* high = row + 128 + b / 4 * 32;
        for (int g = 0; g < 8; ++g) {
          const uint32_t nibbles = load_four(low + 4 * g) >> (b % 4 / 2 * 4) & 0x0f0f0f0f;
          const uint32_t twos = load_four(high + 4 * g) >> (b % 4 * 2) & 0x03030303;
          add_four(nibbles << (b % 2 * 4), pair + low_codes(g) + 4 * lane);
          add_four(twos << (g % 2 * 4 + b % 2 * 2), pair + high_codes(g) + 4 * lane);
        }
      }
    }
  }
};
AXL_INLINE const std::byte* pair(const Q6Panel& p, int64_t b) {
  return p.piece + b / 2 * Q6Panel::kPair;
}
AXL_INLINE void codes(const Q6Panel& p, int64_t b, int, int g, SmallCodes (&to)[2]) {
  const Bytes high = load_codes(pair(p, b) + Q6Panel::high_codes(g)),
              low = load_codes(pair(p, b) + Q6Panel::low_codes(g));
  to[0] = nibbles_with_two(low, shifted_right(high, g % 2 * 4 - 4));
  to[1] = nibbles_with_two(shifted_right(low, 4), shifted_right(high, g % 2 * 4 - 2));
}
AXL_INLINE Q6Panel::Header header(const Q6Panel&) { return {}; }
AXL_INLINE Floats scale(const Q6Panel& p, Q6Panel::Header, int64_t b, int i, int half) {
  return floats(load_signed_bytes(pair(p, b) + Q6Panel::kBlockScales + (i * 2 + half) * kLanes));
}
AXL_INLINE Floats unit(const Q6Panel& p, Q6Panel::Header) {
  return load_halves(p.piece + Q6Panel::kUnit);
}
AXL_INLINE Ints start(const Q6Panel&, const ActivationBlock& x, int64_t b, int i, int half) {
  return all_ints(x.less_32[(b + i) * 2 + half]);
}

// ---- Products -----------------------------------------------------------------------------------

/// Asks for what kAhead bytes after blocks b + i on, as many as are taken at once.
template <class Panel>
AXL_INLINE void prefetch_after(const Panel& w, int64_t b, int i) {
  constexpr int64_t kBytes = Panel::kPiece / 4, kLines = (kBytes + kLineBytes - 1) / kLineBytes;
  const auto* from = reinterpret_cast<const char*>(w.piece) + kAhead + b / 2 * kBytes;
#pragma GCC unroll 16
  for (int64_t n = i * kLines / 2; n < (i + Panel::kShared) * kLines / 2; ++n)
    _mm_prefetch(from + n * kLineBytes, _MM_HINT_T0);
}

/// Adds block b + i of each panel's piece, and those that share its bytes: row j's piece of x is
/// x[j · x_stride].
template <class Panel, int kPanels, int kXRows>
AXL_INLINE void add_blocks(const Panel (&w)[kPanels],
                           const typename Panel::Header (&headers)[kPanels], int64_t b, int i,
                           const ActivationBlock* x, int64_t x_stride,
                           Floats (&sums)[kPanels][kXRows]) {
  constexpr int kGroups = 8 / Panel::kScales;  // of four neighbours that share a scale
  constexpr int kShared = Panel::kShared;
#pragma GCC unroll 2
  for (int half = 0; half < Panel::kScales; ++half) {
    Ints dots[kPanels][kXRows][kShared], narrow[kPanels][kXRows][kShared];
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 2
      for (int n = 0; n < kPanels; ++n)
#pragma GCC unroll 2
        for (int s = 0; s < kShared; ++s)
          dots[n][j][s] = start(w[n], x[j * x_stride], b, i + s, half);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const int k = kGroups * half + g;
      const bool is_first = g % Panel::kNarrowGroups == 0;
      typename Panel::Codes c[kPanels][kShared];
#pragma GCC unroll 2
      for (int n = 0; n < kPanels; ++n) codes(w[n], b, i, k, c[n]);
#pragma GCC unroll 16
      for (int j = 0; j < kXRows; ++j) {
#pragma GCC unroll 2
        for (int s = 0; s < kShared; ++s) {
          const Ints four = four_of(x[j * x_stride].q + (b + i + s) * 32 + 4 * k);
#pragma GCC unroll 2
          for (int n = 0; n < kPanels; ++n) {
            Ints &sum = dots[n][j][s], &own = narrow[n][j][s];
            own = dot(is_first ? narrowed(sum) : own, c[n][s], four);
            if ((g + 1) % Panel::kNarrowGroups == 0) sum = add_narrow(sum, own);
          }
        }
      }
    }
#pragma GCC unroll 2
    for (int n = 0; n < kPanels; ++n)
#pragma GCC unroll 2
      for (int s = 0; s < kShared; ++s) {
        const Floats of_block = scale(w[n], headers[n], b, i + s, half);
#pragma GCC unroll 16
        for (int j = 0; j < kXRows; ++j)
          sums[n][j] = add_products(sums[n][j], floats(dots[n][j][s]),
                                    times(of_block, all_floats(x[j * x_stride].scale[b + i + s])));
      }
  }
}

/// Σ minimum · sum over the blocks of a piece, in units of x.sum_unit.
template <class Panel>
AXL_INLINE Ints sum_of_minima(const Panel& w, const ActivationBlock& x) {
  const auto add = [&](Ints sum, const int8_t* bytes) AXL_TARGET {
    Ints narrow = narrowed(sum);
    narrow = dot(narrow, minima(w, 0), four_of(bytes));
    return add_narrow(sum, dot(narrow, minima(w, 1), four_of(bytes + 4)));
  };
  return add(times_256(add(all_ints(0), x.sums_256)), x.sums_1);
}

/// Adds each panel's piece, of which the first `blocks` are not zeros.
template <class Panel, int kPanels, int kXRows, bool kAsks>
AXL_INLINE void add_piece(const Panel (&w)[kPanels], int64_t blocks, const ActivationBlock* x,
                          int64_t x_stride, Floats (&sums)[kPanels][kXRows]) {
  Floats own[kPanels][kXRows];  // in units of the piece
  typename Panel::Header headers[kPanels];
#pragma GCC unroll 2
  for (int n = 0; n < kPanels; ++n) headers[n] = header(w[n]);
#pragma GCC unroll 2
  for (int n = 0; n < kPanels; ++n)
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j) {
      if constexpr (Panel::kHasMinima) {
        const ActivationBlock& row = x[j * x_stride];
        sums[n][j] = less_products(sums[n][j], floats(sum_of_minima(w[n], row)),
                                   times(min_unit(w[n]), all_floats(row.sum_unit)));
      }
      own[n][j] = Panel::kHasUnit ? all_floats(0) : sums[n][j];
    }
#pragma GCC unroll 1
  for (int64_t b = 0; b < 8 && b < blocks; b += 2) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; i += Panel::kShared) {
      if constexpr (kAsks)
#pragma GCC unroll 2
        for (int n = 0; n < kPanels; ++n) prefetch_after(w[n], b, i);
      add_blocks(w, headers, b, i, x, x_stride, own);
    }
  }
#pragma GCC unroll 2
  for (int n = 0; n < kPanels; ++n)
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j) {
      if constexpr (Panel::kHasUnit)
        sums[n][j] = add_products(sums[n][j], own[n][j], unit(w[n], headers[n]));
      else
        sums[n][j] = own[n][j];
    }
}

/// kXRows rows of x from row r on with kPanels panels, whose first row gives column n of y. Blocks
/// beyond the columns, of a last piece, are zeros times zeros. Where it asks, later panels are
/// asked for ahead of time: known to the compiler, since a branch costs q8_0 a tenth.
template <class Panel, int kPanels, int kXRows, bool kAsks>
AXL_TARGET static void multiply_tile(const std::byte* panels, const CodedProduct& p, int64_t n,
                                     int64_t r) {
  const int64_t pieces = pieces_in(p.cols);
  const ActivationBlock* x = p.x + r * pieces;
  Panel w[kPanels];
  Floats sums[kPanels][kXRows];
#pragma GCC unroll 2
  for (int i = 0; i < kPanels; ++i) {
    w[i].piece = panels + i * Panel::bytes(p.cols);
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j) sums[i][j] = all_floats(0);
  }
  for (int64_t blocks = blocks_in(p.cols); blocks > 0; blocks -= 8) {
    add_piece<Panel, kPanels, kXRows, kAsks>(w, blocks, x, pieces, sums);
    ++x;
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) w[i].piece += Panel::kPiece;
  }
#pragma GCC unroll 2
  for (int i = 0; i < kPanels; ++i) {
    float* y = p.y + r * p.y_stride + n + i * kLanes;
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j)
      store(sums[i][j], y + j * p.y_stride, p.rows - n - i * kLanes, p.add);
  }
}

using Tile = void (*)(const std::byte* panels, const CodedProduct& p, int64_t n, int64_t r);

/// multiply_tile() of one panel for `rows` rows of x, one to kMost.
template <class Panel, int kMost, bool kAsks>
static Tile tile_of(int64_t rows) {
  if constexpr (kMost > 1)
    if (rows < kMost) return tile_of<Panel, kMost - 1, kAsks>(rows);
  return multiply_tile<Panel, 1, kMost, kAsks>;
}

/// All rows of x with kPanels panels at a time from the one of row n on, while there are so many:
/// kMost rows together, the rest panel by panel. Returns the row of the panels that are left.
template <class Panel, int kPanels, int kMost, bool kAsks>
AXL_TARGET static int64_t multiply_panels(const CodedProduct& p, int64_t n) {
  const int64_t bytes = Panel::bytes(p.cols), last = p.x_rows % kMost;
  const Tile last_tile = last > 0 ? tile_of<Panel, kMost - 1, kAsks>(last) : nullptr;
  for (; n + (kPanels - 1) * kLanes < p.rows; n += kPanels * kLanes) {
    const std::byte* panels = p.panels + n / kLanes * bytes;
    int64_t r = 0;
    if (p.x_rows >= kMost) multiply_tile<Panel, kPanels, kMost, kAsks>(panels, p, n, r), r += kMost;
    for (; r + kMost <= p.x_rows; r += kMost)  // the panels have arrived
      multiply_tile<Panel, kPanels, kMost, false>(panels, p, n, r);
    for (int i = 0; i < kPanels && last > 0; ++i)
      last_tile(panels + i * bytes, p, n + i * kLanes, r);
  }
  return n;
}

template <class Panel, bool kAsks>
AXL_TARGET static void multiply_all(const CodedProduct& p) {
  const int64_t n =
      p.x_rows >= kManyRows ? multiply_panels<Panel, kManyPanels, kManyTileRows, kAsks>(p, 0) : 0;
  multiply_panels<Panel, 1, kTileRows, kAsks>(p, n);
}

template <class Panel>
AXL_TARGET static void multiply_coded(const CodedProduct& p) {
  const bool asks = p.x_rows >= (Panel::kIsPacked ? asked_rows().packed : asked_rows().whole);
  return asks ? multiply_all<Panel, true>(p) : multiply_all<Panel, false>(p);
}

/// The panel of rows from `row` on; rows beyond `rows` are zeros, as the memory was.
template <class Panel>
static void pack_panel(const std::byte* row, int64_t row_bytes, int64_t rows, int64_t cols,
                       std::byte* panel) {
  for (int lane = 0; lane < kLanes && lane < rows; ++lane)
    Panel::pack(row + lane * row_bytes, cols, lane, panel);
}

template <class Panel>
constexpr PackedProducts::Coded coded_products() {
  return {Panel::bytes, pack_panel<Panel>, multiply_coded<Panel>};
}
