#pragma once

#include <string>
#include <string_view>

namespace axl {

/// One line of a .jsonl corpus.
struct JsonRecord {
  bool is_pair = false;
  std::string source;  ///< what a pair gives; empty when not a pair
  std::string target;  ///< what is to be learned: a pair's answer, or the whole text
};

/// {"source_code": …, "target_code": …} is a pair, {"text": …} or {"content": …} a text; other keys
/// are ignored. `line` is one JSON object without its end of line. Throws Error beginning with
/// `where` for malformed JSON and for records that are neither.
JsonRecord parse_json_record(std::string_view line, const std::string& where);

}  // namespace axl
