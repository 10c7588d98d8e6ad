#include "axl/infer/range_coder.h"

#include <algorithm>

#include "axl/base/error.h"

namespace axl {
namespace {

constexpr int kWindowBits = 56;
constexpr uint64_t kWindow = uint64_t{1} << kWindowBits;
constexpr uint64_t kSmallestRange = kWindow >> 8;

}  // namespace

void RangeEncoder::encode(SymbolInterval symbol) {
  AXL_CHECK(symbol.width > 0 && symbol.begin < kFrequencyTotal &&
            symbol.width <= kFrequencyTotal - symbol.begin);
  const uint64_t unit = range_ >> kFrequencyBits;
  low_ += unit * symbol.begin;
  range_ = unit * symbol.width;
  carry();
  while (range_ < kSmallestRange) shift_byte();
}

void RangeEncoder::carry() {
  if (low_ < kWindow) return;
  low_ -= kWindow;
  size_t i = code_.size();
  while (i > 0 && code_[i - 1] == '\xff') code_[--i] = '\0';
  AXL_CHECK(i > 0);  // the whole code stays below 1
  ++code_[i - 1];
}

void RangeEncoder::shift_byte() {
  code_ += static_cast<char>(low_ >> (kWindowBits - 8));
  low_ = (low_ << 8) & (kWindow - 1);
  range_ <<= 8;
}

std::string RangeEncoder::finish() {
  // The range is wide enough to hold a number whose bits after the first byte are all zero.
  low_ += kSmallestRange - 1;
  carry();
  shift_byte();
  return std::move(code_);
}

RangeDecoder::RangeDecoder(std::string_view code) : code_(code) {
  for (int i = 0; i < kWindowBits / 8; ++i) shift_byte();
  range_ = kWindow;
}

uint32_t RangeDecoder::peek() const {
  // What rounding cut off the range belongs to no symbol; only a damaged code lies there.
  return std::min<uint64_t>(value_ / (range_ >> kFrequencyBits), kFrequencyTotal - 1);
}

void RangeDecoder::skip(SymbolInterval symbol) {
  const uint64_t unit = range_ >> kFrequencyBits;
  value_ -= unit * symbol.begin;
  range_ = unit * symbol.width;
  while (range_ < kSmallestRange) {
    shift_byte();
    range_ <<= 8;
  }
}

void RangeDecoder::shift_byte() {
  value_ <<= 8;
  if (code_.empty()) {
    ++beyond_;
    return;
  }
  value_ |= static_cast<unsigned char>(code_.front());
  code_.remove_prefix(1);
}

}  // namespace axl
