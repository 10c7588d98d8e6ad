#pragma once

#include <cstdint>
#include <span>

#include "axl/base/rng.h"

namespace axl {

/// Puts what a window holds of one plain document into a form that teaches to fill gaps: its text
/// is cut at two random places into prefix, middle and suffix, and becomes, either as likely,
///
///     BOS 0xF8 prefix 0xF9 suffix 0xFA middle EOS     (prefix-suffix-middle)
///     BOS 0xF8 0xF9 suffix 0xFA prefix middle EOS     (suffix-prefix-middle)
///
/// in place, so the text loses at its end what the marks need. (Context-level, character-level
/// cuts, and the second form of suffix-prefix-middle, as in Bavarian and others 2022,
/// arXiv:2207.14255.) All text and EOS are scored, as there, so that no text is read without being
/// learned from; the marks are not, because whoever asks writes them, and a model that expected one
/// at any byte would pay for it at every byte.
/// A piece of fewer than kShortestFill tokens, and one that has a mark among its bytes, stays as
/// it is. `scored` is of the same size.
void fill_in_middle(std::span<int32_t> piece, std::span<bool> scored, Rng& rng);

}  // namespace axl
