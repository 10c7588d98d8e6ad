#include "fill_in_middle.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/tokens.h"
#include "axl/data/corpus.h"

namespace axl {
namespace {

constexpr int64_t kMarks = 5;  // BOS and EOS too
static_assert(kShortestFill > kMarks);

bool is_mark(int32_t token) {
  return token == kFimPrefix || token == kFimSuffix || token == kFimMiddle;
}

/// Writes tokens one after another.
struct Output {
  int32_t* tokens;
  bool* scored;

  void put(int32_t token, bool is_scored) {
    *tokens++ = token;
    *scored++ = is_scored;
  }
  void put(std::span<const int32_t> text) {
    for (const int32_t byte : text) put(byte, true);
  }
};

}  // namespace

void fill_in_middle(std::span<int32_t> piece, std::span<bool> scored, Rng& rng) {
  AXL_CHECK(piece.size() == scored.size());
  if (std::ssize(piece) < kShortestFill || std::ranges::any_of(piece, is_mark)) return;
  const std::vector<int32_t> bytes(piece.begin() + (piece.front() == kBos), piece.end());
  const std::span<const int32_t> text(bytes.data(), piece.size() - kMarks);
  auto [begin, end] = std::minmax({static_cast<size_t>(rng.below(text.size() + 1)),
                                   static_cast<size_t>(rng.below(text.size() + 1))});
  const auto prefix = text.first(begin), suffix = text.subspan(end);
  const auto middle = text.subspan(begin, end - begin);
  const bool suffix_first = rng.below(2) == 1;

  Output out{piece.data(), scored.data()};
  out.put(kBos, false);
  out.put(kFimPrefix, false);
  if (!suffix_first) out.put(prefix);
  out.put(kFimSuffix, false);
  out.put(suffix);
  out.put(kFimMiddle, false);
  if (suffix_first) out.put(prefix);
  out.put(middle);
  out.put(kEos, true);
}

}  // namespace axl
