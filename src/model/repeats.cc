#include "axl/model/repeats.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "axl/model/lookup.h"

namespace axl {
namespace {

/// How many tokens before and with `earlier` and `i` are alike, as far as levels go.
int64_t common_length(const int32_t* tokens, int64_t earlier, int64_t i) {
  int64_t length = 0;
  while (length < kMemoryLevels - 1 && length <= earlier &&
         tokens[earlier - length] == tokens[i - length])
    ++length;
  return length;
}

int32_t repeat_row(int32_t next, int64_t length) {
  return next < 256 ? memory_row(next, length) : -1;
}

}  // namespace

void find_repeats(const int32_t* tokens, int64_t begin, int64_t end, int64_t n, int32_t* rows) {
  std::fill(rows, rows + end - begin, -1);
  if (end < n) return;
  // Where each distinct run of n tokens ended last: open addressing, at most half full. A thread
  // keeps its table, so that a training step allocates nothing.
  thread_local std::vector<int32_t> last_ends;
  const int64_t places = std::bit_ceil(static_cast<uint64_t>(2 * end));
  last_ends.assign(places, -1);
  RollingHash hash(tokens, n);
  for (int64_t i = n - 1; i < end; ++i) {
    int64_t place = row_of(hash.value(), places), length = 0;
    for (; last_ends[place] >= 0; place = (place + 1) & (places - 1)) {
      length = common_length(tokens, last_ends[place], i);
      if (length >= n) break;
    }
    const int64_t earlier = last_ends[place];
    last_ends[place] = static_cast<int32_t>(i);
    if (earlier >= 0 && i >= begin) rows[i - begin] = repeat_row(tokens[earlier + 1], length);
    if (i + 1 < end) hash.roll(tokens[i + 1 - n], tokens[i + 1]);
  }
}

void find_repeats_of_last(std::span<const int32_t> tokens, std::span<const int64_t> lengths,
                          int32_t* rows) {
  std::fill_n(rows, lengths.size(), -1);
  const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  size_t found = 0;
  for (int64_t earlier = last - 1; earlier >= 0 && found < lengths.size(); --earlier) {
    if (tokens[earlier] != tokens[last]) continue;
    const int64_t length = common_length(tokens.data(), earlier, last);
    for (; found < lengths.size() && lengths[found] <= length; ++found)
      rows[found] = repeat_row(tokens[earlier + 1], length);
  }
}

}  // namespace axl
