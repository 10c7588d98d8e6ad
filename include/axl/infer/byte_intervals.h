#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "axl/infer/range_coder.h"

namespace axl {

/// The next byte's probabilities as intervals of kFrequencyTotal: byte b has
///   1 + ⌊softmax(logits)[b] · (kFrequencyTotal − 256)⌋,
/// and what rounding leaves goes to the most likely byte. Equal logits give equal intervals.
class ByteIntervals {
 public:
  /// Logits of the 256 bytes; BOS and EOS have no part. Throws Error when one is not finite.
  explicit ByteIntervals(std::span<const float, 256> logits);

  SymbolInterval of(uint8_t byte) const { return {begin_[byte], begin_[byte + 1] - begin_[byte]}; }
  /// The byte in whose interval `position` < kFrequencyTotal lies.
  uint8_t find(uint32_t position) const;

 private:
  std::array<uint32_t, 257> begin_;
};

}  // namespace axl
