#include "serve/utf8_stream.h"

#include <algorithm>
#include <utility>

namespace axl {
namespace {
constexpr const char* kReplacement = "\xEF\xBF\xBD";
}

/// Whether the byte begins a character of several bytes; sets what must follow (table 3-7 of the
/// Unicode Standard: neither overlong forms, nor surrogates, nor anything above U+10FFFF).
bool Utf8Stream::begin(unsigned char byte) {
  least_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
  most_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
  if (byte >= 0xC2 && byte <= 0xDF) missing_ = 1;
  if (byte >= 0xE0 && byte <= 0xEF) missing_ = 2;
  if (byte >= 0xF0 && byte <= 0xF4) missing_ = 3;
  return missing_ > 0;
}

void Utf8Stream::add(unsigned char byte, std::string& out) {
  if (missing_ > 0 && byte >= least_ && byte <= most_) {
    held_ += static_cast<char>(byte);
    least_ = 0x80, most_ = 0xBF;
    if (--missing_ == 0) out += std::exchange(held_, {});
    return;
  }
  out += flush();
  if (byte < 0x80)
    out += static_cast<char>(byte);
  else if (begin(byte))
    held_ = static_cast<char>(byte);
  else
    out += kReplacement;
}

std::string Utf8Stream::push(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) add(static_cast<unsigned char>(byte), out);
  return out;
}

std::string Utf8Stream::flush() {
  missing_ = 0;
  return std::exchange(held_, {}).empty() ? "" : kReplacement;
}

std::string valid_utf8(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.push(bytes);
  return text + stream.flush();
}

size_t utf8_length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace axl
