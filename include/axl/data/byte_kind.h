#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace axl {

/// What a byte of source code belongs to.
enum class ByteKind : uint8_t {
  kIndent,   ///< a line's end, and blanks at the beginning of a line
  kSpace,    ///< other blanks
  kWord,     ///< identifiers and keywords: letters, _, bytes above 127, and digits after those
  kDigit,    ///< numbers, with all letters and underscores in them: 0x1F, 1e5
  kSymbol,   ///< operators and other punctuation
  kString,   ///< string literals with their quotes
  kComment,  ///< comments from their mark to the end of the line
};
constexpr int kByteKinds = 7;

/// "indent", "space", "word", "digit", "symbol", "string", "comment".
const char* name_of(ByteKind kind);

/// How a language marks comments: # to the end of the line; or // to the end of the line and
/// /* to */.
enum class Comments { kHash, kSlashes };

/// kSlashes for .c, .cc, .cpp, .cs, .go, .h, .hpp, .java, .js, .kt, .rs, .swift and .ts, else
/// kHash.
Comments comments_of(std::string_view file_name);

/// The kind of each byte, told by bytes alone and without a grammar: '…' and "…" with \ escapes are
/// strings that end with their line at the latest, unless a \ stands before its end; """…""" and
/// '''…''' go over lines. Prefixes such as r or f are words, and what stands in the braces of an
/// f-string is string.
std::vector<ByteKind> classify_bytes(std::string_view text, Comments comments);

}  // namespace axl
