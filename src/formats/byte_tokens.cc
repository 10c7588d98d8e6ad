#include "axl/formats/byte_tokens.h"

#include <cstdint>

namespace axl {
namespace {

std::string utf8(uint32_t code_point) {  // below 0x800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

}  // namespace

std::vector<std::string> token_texts() {
  std::vector<std::string> tokens;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool prints =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    tokens.push_back(utf8(prints ? byte : next++));
  }
  tokens.insert(tokens.end(), {"<|bos|>", "<|endoftext|>"});
  return tokens;
}

}  // namespace axl
