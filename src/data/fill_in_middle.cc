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
  auto first = std::pair(kFimSuffix, text.subspan(end));
  auto second = std::pair(kFimPrefix, text.first(begin));
  if (rng.below(2) == 1) std::swap(first, second);

  Output out{piece.data(), scored.data()};
  out.put(kBos, false);
  for (const auto& [mark, part] : {first, second}) {
    out.put(mark, false);
    out.put(part);
  }
  out.put(kFimMiddle, false);
  out.put(text.subspan(begin, end - begin));
  out.put(kEos, true);
}

}  // namespace axl
