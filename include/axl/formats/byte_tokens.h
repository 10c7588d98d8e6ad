#pragma once

#include <string>
#include <vector>

namespace axl {

/// The spelling of every token id in files of other programs. Bytes are spelt as GPT-2 spells them:
/// themselves where they print, else the next character from U+0100 on; then come "<|bos|>" and
/// "<|endoftext|>", marks that no source code is likely to hold.
std::vector<std::string> token_texts();

}  // namespace axl
