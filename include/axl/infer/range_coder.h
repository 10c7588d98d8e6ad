#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace axl {

/// A symbol's share of the whole: [begin, begin + width) of kFrequencyTotal.
struct SymbolInterval {
  uint32_t begin, width;  ///< width >= 1, begin + width <= kFrequencyTotal
};
inline constexpr int kFrequencyBits = 24;
inline constexpr uint32_t kFrequencyTotal = uint32_t{1} << kFrequencyBits;

/// Writes a sequence of symbols in Σ log2(kFrequencyTotal / width) bits and at most a byte more
/// (range coding, G. N. N. Martin 1979). The range has 56 bits and never falls below 48, so that
/// rounding costs less than 2^-23 bits per symbol.
class RangeEncoder {
 public:
  void encode(SymbolInterval symbol);
  /// Ends the code and returns it.
  std::string finish();

 private:
  void shift_byte();
  void carry();

  uint64_t low_ = 0;  ///< 56 bits that may still change, above them a carry into the code
  uint64_t range_ = uint64_t{1} << 56;
  std::string code_;
};

/// Reads what RangeEncoder wrote, given the same intervals. Any bytes may be read: a code that is
/// damaged gives other symbols, one that is cut short becomes exhausted().
class RangeDecoder {
 public:
  /// What `code` shows must outlive the decoder.
  explicit RangeDecoder(std::string_view code);

  /// In [0, kFrequencyTotal): lies in the interval of the next symbol.
  uint32_t peek() const;
  /// Steps over the symbol in whose interval peek() lies.
  void skip(SymbolInterval symbol);
  /// More symbols were read than the code holds: it is cut short or the reader asks too much.
  bool exhausted() const { return beyond_ > kZerosImplied; }

 private:
  /// The decoder looks at seven bytes at once; the encoder ends with one and means zeros after it.
  static constexpr int kZerosImplied = 6;
  void shift_byte();

  std::string_view code_;
  int beyond_ = 0;      ///< zeros read after the end
  uint64_t value_ = 0;  ///< of the code, less the low end of the range
  uint64_t range_ = uint64_t{1} << 56;
};

}  // namespace axl
