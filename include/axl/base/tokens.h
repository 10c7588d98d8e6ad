#pragma once

namespace axl {

/// Tokens are the 256 bytes and two marks at the ends of a document.
inline constexpr int kBos = 256, kEos = 257, kVocab = 258;
/// In-band marks, bytes that valid UTF-8 never contains.
inline constexpr int kPairMark = 0xFF;
inline constexpr int kFimPrefix = 0xF8, kFimSuffix = 0xF9, kFimMiddle = 0xFA;

}  // namespace axl
