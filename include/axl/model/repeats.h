#pragma once

#include <cstdint>
#include <span>

namespace axl {

/// For each token i of begin .. end − 1: the last earlier place where the n tokens that end with i
/// stood too, rows[i − begin] = memory_row(the byte that followed there, how many tokens are alike
/// there and here, counted up to kMemoryLevels − 1); -1 where there is no such place or a mark
/// followed. Costs a table of the whole text: for long runs of tokens.
void find_repeats(const int32_t* tokens, int64_t begin, int64_t end, int64_t n, int32_t* rows);

/// The same for the last token of a text and several n, ascending, by looking back through it:
/// rows[k] for n = lengths[k].
void find_repeats_of_last(std::span<const int32_t> tokens, std::span<const int64_t> lengths,
                          int32_t* rows);

}  // namespace axl
