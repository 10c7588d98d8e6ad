#include "axl/infer/byte_intervals.h"

#include <algorithm>
#include <cmath>

#include "axl/base/error.h"

namespace axl {

ByteIntervals::ByteIntervals(std::span<const float, 256> logits) {
  for (float logit : logits)
    if (!std::isfinite(logit))
      throw Error(
          "the model's logits are not finite numbers; its weights are damaged or far too large");
  const auto top = std::max_element(logits.begin(), logits.end());
  std::array<double, 256> weight;
  double sum = 0;
  for (int b = 0; b < 256; ++b) sum += weight[b] = std::exp(double(logits[b]) - *top);

  std::array<uint32_t, 256> width;
  uint32_t left = kFrequencyTotal;
  for (int b = 0; b < 256; ++b) {
    width[b] = 1 + static_cast<uint32_t>(weight[b] / sum * (kFrequencyTotal - 256));
    left -= width[b];
  }
  width[top - logits.begin()] += left;
  begin_[0] = 0;
  for (int b = 0; b < 256; ++b) begin_[b + 1] = begin_[b] + width[b];
}

uint8_t ByteIntervals::find(uint32_t position) const {
  const auto after = std::upper_bound(begin_.begin(), begin_.end(), position);
  return static_cast<uint8_t>(after - begin_.begin() - 1);
}

}  // namespace axl
