#include "axl/nn/segments.h"

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

int64_t total_rows(const Segments& segments) {
  return segments.empty() ? 0 : segments.back().row + segments.back().count;
}

}  // namespace axl
