#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace axl {

/// Where one sequence's new tokens lie in the rows of a buffer: rows [row, row + count) are tokens
/// begin .. begin + count − 1 of that sequence. Training runs B sequences from their beginning; a
/// decoding session runs one or more of them a few tokens at a time.
struct Segment {
  int64_t row = 0, begin = 0, count = 0;
  int64_t end() const { return begin + count; }
};
using Segments = std::vector<Segment>;

/// Rows [begin, end) of a buffer.
struct RowRange {
  int64_t begin = 0, end = std::numeric_limits<int64_t>::max();
  /// Those of a segment's tokens that lie in them, in a view that begins with row `begin`.
  Segment part_of(const Segment& s) const;
};

/// B sequences of N tokens each, from their beginning, one after another.
Segments whole_sequences(int64_t batch, int64_t length);
/// The tokens of scale s that end among the bytes of `bytes`: only whole groups exist.
Segments at_scale(const Segments& bytes, int64_t factor);
int64_t total_rows(const Segments& segments);

}  // namespace axl
