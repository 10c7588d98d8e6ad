#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace axl {

/// What a model that was trained with train.fim_rate is shown to fill a gap.
struct FillPrompt {
  std::vector<int32_t> tokens;  ///< BOS left out
  int64_t prefix_dropped = 0;   ///< bytes at the prefix's left that found no room
  int64_t suffix_dropped = 0;   ///< bytes at the suffix's right
  std::string dropped;          ///< both, for a Drafter
};

/// Prefix mark, suffix mark, suffix, middle mark, prefix: what is written next goes on from the
/// prefix, as in any text, and knows the suffix. (Suffix-prefix-middle in the second form of
/// Bavarian and others 2022, arXiv:2207.14255: with a mark between prefix and middle, small models
/// lose more by it than they gain from the suffix.) Cut so that with BOS and `room` bytes still to
/// be written they fit a context of `context` tokens: the bytes next to the gap stay, and of what
/// there is room for the suffix has a quarter at most, unless the prefix needs less. `room` is cut
/// to half the context.
FillPrompt fill_in_middle_prompt(std::string_view prefix, std::string_view suffix, int64_t context,
                                 int64_t room);

}  // namespace axl
