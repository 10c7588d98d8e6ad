#include "axl/nn/segments.h"

#include <algorithm>

namespace axl {

Segments whole_sequences(int64_t batch, int64_t length) {
  Segments segments(batch);
  for (int64_t b = 0; b < batch; ++b) segments[b] = {b * length, 0, length};
  return segments;
}

Segments at_scale(const Segments& bytes, int64_t factor) {
  Segments tokens;
  int64_t row = 0;
  for (const Segment& s : bytes) {
    const int64_t begin = s.begin / factor, count = s.end() / factor - begin;
    tokens.push_back({row, begin, count});
    row += count;
  }
  return tokens;
}

Segment RowRange::part_of(const Segment& s) const {
  const int64_t first = std::clamp(begin, s.row, s.row + s.count);
  const int64_t count = std::clamp(end, first, s.row + s.count) - first;
  return {count > 0 ? first - begin : 0, s.begin + first - s.row, count};
}

int64_t total_rows(const Segments& segments) {
  return segments.empty() ? 0 : segments.back().row + segments.back().count;
}

}  // namespace axl
