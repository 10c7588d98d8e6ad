// Products of block-coded rows of weights, compiled once per instruction set by packed_products.cc,
// which defines AXL_TARGET, the vector operations and the namespace around this file. Everything
// here is static and takes its helpers from the same inclusion, so that no instruction leaks into
// another set's code.
//
// A *panel* is kLanes rows of W, interleaved: four neighbours of each row side by side, so that one
// instruction multiplies them by four neighbours of x, and the lanes of a register are elements of
// y. Nothing is summed across lanes, a panel is read from its first byte to its last, and it is as
// large as the rows were (q4_k: 3 % larger, q6_k: 1 %). llama.cpp interleaves for the same reasons.
//
// An element of y is summed in the same order whatever the instruction set and the number of rows
// of x: block after block, each of which is summed as an integer.

/// Blocks have 32 elements; 8 of them share an ActivationBlock.
constexpr int64_t blocks_in(int64_t cols) { return (cols + 31) / 32; }
constexpr int64_t pieces_in(int64_t cols) { return (cols + 255) / 256; }

AXL_INLINE Floats times(Floats a, Ints b) { return times(a, floats(b)); }

// ---- What panels hold ---------------------------------------------------------------------------
//
// pack() interleaves rows as GGUF files have them; a row that is not there counts as zeros. Eight
// blocks, 256 elements of each row, are a *piece*. Of its block b + i, codes() are elements 4 g to
// 4 g + 3 of each row, and scale() is that of half h of it. b is a multiple of kTogether and i, the
// place among so many blocks, known to the compiler. What dot() wants added for codes that are
// stored with an offset is in start().

/// Puts `count` bytes of a row into `lane`, four by four, less the bits that `flip` has.
inline void interleave(const std::byte* from, int64_t count, int lane, std::byte* to,
                       uint32_t flip = 0) {
  for (int64_t i = 0; i < count; i += 4) {
    uint32_t four;
    __builtin_memcpy(&four, from + i, 4);
    four ^= flip;
    __builtin_memcpy(to + i * kLanes + 4 * lane, &four, 4);
  }
}
inline void put_half(const std::byte* from, int lane, std::byte* to) {
  __builtin_memcpy(to + 2 * lane, from, 2);
}

/// For each pair of blocks: [block][lane] scales in f16, then [block][g][lane][4] codes.
struct Q8Panel {
  static constexpr int kScales = 1;  // of a block
  static constexpr int kTogether = 2;
  static constexpr bool kHasMinima = false, kIsPacked = false;
  static constexpr int kNarrowGroups = 1;  // whose sums fit what dot() adds them up in
  static constexpr int kBlockScales = 2 * kLanes, kBlockCodes = 32 * kLanes,
                       kPair = 2 * (kBlockScales + kBlockCodes), kPiece = 4 * kPair;
  const std::byte* piece;

  static constexpr int64_t bytes(int64_t cols) { return kPair * ((blocks_in(cols) + 1) / 2); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t b = 0; b < blocks_in(cols); ++b, row += 34) {
      std::byte* pair = panel + b / 2 * kPair;
      put_half(row, lane, pair + b % 2 * kBlockScales);
      interleave(row + 2, 32, lane, pair + 2 * kBlockScales + b % 2 * kBlockCodes, kFlippedSigns);
    }
  }
};
AXL_INLINE const std::byte* pair(const Q8Panel& p, int64_t b) {
  return p.piece + b / 2 * Q8Panel::kPair;
}
AXL_INLINE SignedCodes codes(const Q8Panel& p, int64_t b, int i, int g) {
  return signed_codes(
      load_codes(pair(p, b) + 2 * Q8Panel::kBlockScales + (i * 8 + g) * 4 * kLanes));
}
AXL_INLINE Floats scale(const Q8Panel& p, int64_t b, int i, int) {
  return load_halves(pair(p, b) + i * Q8Panel::kBlockScales);
}
AXL_INLINE Ints start(const Q8Panel&, const ActivationBlock& x, int64_t b, int i, int) {
  return signed_start(x.less_128[b + i]);
}

/// For each piece: unit and unit of the minima, in f16; [block][lane] scales, then minima, of a
/// byte each; [pair of blocks][g][lane][4] pairs of codes.
struct Q4Panel {
  static constexpr int kScales = 1;
  static constexpr int kTogether = 2;
  static constexpr bool kHasMinima = true, kIsPacked = true;
  static constexpr int kNarrowGroups = 8;  // 8 · 2 · 15 · 127 is less than 2^15
  static constexpr int kMinUnits = 2 * kLanes, kBlockScales = 4 * kLanes,
                       kBlockMinima = 12 * kLanes, kCodes = 20 * kLanes, kPiece = 148 * kLanes;
  const std::byte* piece;

  static constexpr int64_t bytes(int64_t cols) { return kPiece * pieces_in(cols); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t i = 0; i < pieces_in(cols); ++i, row += 144, panel += kPiece) {
      put_half(row, lane, panel);
      put_half(row + 2, lane, panel + kMinUnits);
      // Eight 6-bit scales and minima in 12 bytes: the first four of each in the low bits of bytes
      // 0-3 and 4-7, the others in the nibbles of 8-11 and the high bits of 0-3 and 4-7.
      const auto* s = reinterpret_cast<const uint8_t*>(row + 4);
      for (int b = 0; b < 8; ++b) {
        const int scale = b < 4 ? s[b] & 63 : (s[b + 4] & 15) | s[b - 4] >> 6 << 4;
        const int minimum = b < 4 ? s[b + 4] & 63 : s[b + 4] >> 4 | s[b] >> 6 << 4;
        panel[kBlockScales + kLanes * b + lane] = static_cast<std::byte>(scale);
        panel[kBlockMinima + kLanes * b + lane] = static_cast<std::byte>(minimum);
      }
      interleave(row + 16, 128, lane, panel + kCodes);
    }
  }
};
AXL_INLINE SmallCodes codes(const Q4Panel& p, int64_t b, int i, int g) {
  return nibbles(load_codes(p.piece + Q4Panel::kCodes + (8 * (b / 2) + g) * 4 * kLanes), 4 * i);
}
AXL_INLINE Floats scale(const Q4Panel& p, int64_t b, int i, int) {
  return times(load_halves(p.piece),
               load_bytes(p.piece + Q4Panel::kBlockScales + (b + i) * kLanes));
}
AXL_INLINE Floats minimum(const Q4Panel& p, int64_t b, int i) {
  return times(load_halves(p.piece + Q4Panel::kMinUnits),
               load_bytes(p.piece + Q4Panel::kBlockMinima + (b + i) * kLanes));
}
AXL_INLINE Ints start(const Q4Panel&, const ActivationBlock&, int64_t, int, int) {
  return all_ints(0);
}

/// For each piece: unit in f16; [half of a block][lane] scales of a byte each; the codes' low
/// nibbles and high two bits, in the order of the file: of the four blocks of 128 elements, the
/// first and third share nibbles, the second and fourth too, and all four the bytes of high bits.
/// For each 128: [g][low, high][lane][4] for the first block, then [g][low][lane][4] for the
/// second, so that what is read for the first time always follows what was read before.
struct Q6Panel {
  static constexpr int kScales = 2;
  static constexpr int kTogether = 1;
  static constexpr bool kHasMinima = false, kIsPacked = true;
  static constexpr int kNarrowGroups = 2;         // 2 · 2 · 63 · 127
  static constexpr int kHalfScales = 4 * kLanes,  // the unit takes four, so that codes are aligned
      kCodes = 20 * kLanes, kGroup = 4 * kLanes, kPiece = kCodes + 48 * kGroup;
  const std::byte* piece;

  /// Where in a piece the low nibbles and the high bits of a half begin.
  static constexpr int64_t low_codes(int64_t half, int block, int g) {
    return kCodes + (24 * half + (block == 0 ? 2 * g : 16 + g)) * kGroup;
  }
  static constexpr int64_t high_codes(int64_t half, int g) {
    return kCodes + (24 * half + 2 * g + 1) * kGroup;
  }
  static constexpr int64_t bytes(int64_t cols) { return kPiece * pieces_in(cols); }
  static void pack(const std::byte* row, int64_t cols, int lane, std::byte* panel) {
    for (int64_t i = 0; i < pieces_in(cols); ++i, row += 210, panel += kPiece) {
      put_half(row + 208, lane, panel);
      for (int s = 0; s < 16; ++s) panel[kHalfScales + kLanes * s + lane] = row[192 + s];
      for (int half = 0; half < 2; ++half)
        for (int g = 0; g < 8; ++g) {
          const std::byte* low = row + 64 * half + 4 * g;
          interleave(low, 4, lane, panel + low_codes(half, 0, g));
          interleave(low + 32, 4, lane, panel + low_codes(half, 1, g));
          interleave(row + 128 + 32 * half + 4 * g, 4, lane, panel + high_codes(half, g));
        }
    }
  }
};
AXL_INLINE SmallCodes codes(const Q6Panel& p, int64_t b, int, int g) {
  const int64_t half = b / 4;
  const int quarter = b % 4;
  const SmallCodes low =
      nibbles(load_codes(p.piece + Q6Panel::low_codes(half, quarter % 2, g)), quarter / 2 * 4);
  return with_high_bits(low, load_codes(p.piece + Q6Panel::high_codes(half, g)), quarter * 2);
}
AXL_INLINE Floats scale(const Q6Panel& p, int64_t b, int, int half) {
  return times(load_halves(p.piece),
               load_signed_bytes(p.piece + Q6Panel::kHalfScales + (b * 2 + half) * kLanes));
}
AXL_INLINE Ints start(const Q6Panel&, const ActivationBlock& x, int64_t b, int, int half) {
  return all_ints(x.less_32[b * 2 + half]);
}

// ---- Products -----------------------------------------------------------------------------------

/// Asks for block b + i of the piece that comes kAhead bytes later.
template <class Panel>
AXL_INLINE void prefetch_after(const Panel& w, int64_t b, int i) {
  constexpr int64_t kBytes = Panel::kPiece / 8 * Panel::kTogether, kTogether = Panel::kTogether;
  constexpr int64_t kLines = (kBytes + kLineBytes - 1) / kLineBytes;
  const auto* from = reinterpret_cast<const char*>(w.piece) + kAhead + b / kTogether * kBytes;
#pragma GCC unroll 9
  for (int64_t n = i * kLines / kTogether; n < (i + 1) * kLines / kTogether; ++n)
    _mm_prefetch(from + n * kLineBytes, _MM_HINT_T0);
}

/// Adds block b + i of each panel's piece: row j's piece of x is x[j · x_stride].
template <class Panel, int kPanels, int kXRows>
AXL_INLINE void add_block(const Panel (&w)[kPanels], int64_t b, int i, const ActivationBlock* x,
                          int64_t x_stride, Floats (&sums)[kPanels][kXRows]) {
  constexpr int kGroups = 8 / Panel::kScales;  // of four neighbours that share a scale
#pragma GCC unroll 2
  for (int half = 0; half < Panel::kScales; ++half) {
    Ints dots[kPanels][kXRows], narrow[kPanels][kXRows];
#pragma GCC unroll 16
    for (int j = 0; j < kXRows; ++j)
#pragma GCC unroll 2
      for (int n = 0; n < kPanels; ++n) dots[n][j] = start(w[n], x[j * x_stride], b, i, half);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const int k = kGroups * half + g;
      const bool is_first = g % Panel::kNarrowGroups == 0;
      decltype(codes(w[0], b, i, k)) c[kPanels];
#pragma GCC unroll 2
      for (int n = 0; n < kPanels; ++n) c[n] = codes(w[n], b, i, k);
#pragma GCC unroll 16
      for (int j = 0; j < kXRows; ++j) {
        const Ints four = four_of(x[j * x_stride].q + (b + i) * 32 + 4 * k);
#pragma GCC unroll 2
        for (int n = 0; n < kPanels; ++n) {
          narrow[n][j] = dot(is_first ? narrowed(dots[n][j]) : narrow[n][j], c[n], four);
          if ((g + 1) % Panel::kNarrowGroups == 0)
            dots[n][j] = add_narrow(dots[n][j], narrow[n][j]);
        }
      }
    }
#pragma GCC unroll 2
    for (int n = 0; n < kPanels; ++n) {
      const Floats s = scale(w[n], b, i, half);
#pragma GCC unroll 16
      for (int j = 0; j < kXRows; ++j)
        sums[n][j] = add_products(sums[n][j], floats(dots[n][j]),
                                  times(s, all_floats(x[j * x_stride].scale[b + i])));
    }
  }
  if constexpr (Panel::kHasMinima) {
#pragma GCC unroll 2
    for (int n = 0; n < kPanels; ++n) {
      const Floats m = minimum(w[n], b, i);
#pragma GCC unroll 16
      for (int j = 0; j < kXRows; ++j)
        sums[n][j] = less_products(sums[n][j], m, all_floats(x[j * x_stride].sum[b + i]));
    }
  }
}

/// kXRows rows of x from row r on with kPanels panels, whose first row gives column n of y. Blocks
/// beyond the columns, of a last piece, are zeros times zeros. Where it asks, later panels are
/// asked for ahead of time: known to the compiler, since a branch costs q8_0 a tenth.
template <class Panel, int kPanels, int kXRows, bool kAsks>
AXL_TARGET static void multiply_tile(const std::byte* panels, const CodedProduct& p, int64_t n,
                                     int64_t r) {
  constexpr int kTogether = Panel::kTogether;
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
    for (int64_t b = 0; b < 8 && b < blocks; b += kTogether) {
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) {
        if constexpr (kAsks)
#pragma GCC unroll 2
          for (int m = 0; m < kPanels; ++m) prefetch_after(w[m], b, i);
        add_block(w, b, i, x, pieces, sums);
      }
    }
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
