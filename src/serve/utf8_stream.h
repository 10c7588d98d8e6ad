#pragma once

#include <string>
#include <string_view>

namespace axl {

/// Makes valid UTF-8 of bytes that come piece by piece: holds back a character that is not whole
/// yet, three bytes at most, and writes U+FFFD for what can never become one (one for each longest
/// beginning of a character, as the Unicode Standard, section 3.9, recommends).
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  /// What is held back will get no more.
  std::string flush();
  bool holding() const { return missing_ > 0; }

 private:
  void add(unsigned char byte, std::string& out);
  bool begin(unsigned char byte);

  std::string held_;
  int missing_ = 0;                           ///< bytes that the held character lacks
  unsigned char least_ = 0x80, most_ = 0xBF;  ///< what its next byte must be
};

/// The whole of a text.
std::string valid_utf8(std::string_view bytes);

/// Characters (code points) of valid UTF-8.
size_t utf8_length(std::string_view text);

}  // namespace axl
