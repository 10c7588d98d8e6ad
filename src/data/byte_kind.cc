#include "axl/data/byte_kind.h"

#include <algorithm>
#include <array>
#include <string>

namespace axl {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) {
  const bool is_ascii = static_cast<unsigned char>(c) < 128;
  return !is_ascii || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Goes through a text token by token.
class Classifier {
 public:
  Classifier(std::string_view text, Comments comments) : text_(text), comments_(comments) {
    kinds_.reserve(text.size());
  }

  std::vector<ByteKind> run() && {
    while (at() < text_.size()) token();
    return std::move(kinds_);
  }

 private:
  size_t at() const { return kinds_.size(); }
  bool starts(std::string_view mark) const { return text_.substr(at()).starts_with(mark); }
  /// Gives the bytes up to `end` a kind.
  void take(size_t end, ByteKind kind) { kinds_.resize(std::min(end, text_.size()), kind); }
  template <class Test>
  void take_while(const Test& test, ByteKind kind) {
    size_t end = at();
    while (end < text_.size() && test(text_[end])) ++end;
    take(end, kind);
  }
  /// The position after the next `mark` from `from` on, or the end of the text.
  size_t after(std::string_view mark, size_t from) const {
    const size_t found = text_.find(mark, from);
    return found == text_.npos ? text_.size() : found + mark.size();
  }

  void token() {
    const char c = text_[at()];
    if (c == '\n') {
      take(at() + 1, ByteKind::kIndent);
    } else if (is_blank(c)) {
      const bool begins_line = at() == 0 || text_[at() - 1] == '\n';
      take_while(is_blank, begins_line ? ByteKind::kIndent : ByteKind::kSpace);
    } else if (is_digit(c) || is_letter(c)) {
      take_while([](char next) { return is_digit(next) || is_letter(next); },
                 is_digit(c) ? ByteKind::kDigit : ByteKind::kWord);
    } else if (starts(comments_ == Comments::kHash ? "#" : "//")) {
      take_while([](char next) { return next != '\n'; }, ByteKind::kComment);
    } else if (comments_ == Comments::kSlashes && starts("/*")) {
      take(after("*/", at() + 2), ByteKind::kComment);
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      take(at() + 1, ByteKind::kSymbol);
    }
  }

  void string(char quote) {
    const bool triple = starts(std::string(3, quote));
    const std::string mark(triple ? 3 : 1, quote);
    size_t end = at() + mark.size();
    while (end < text_.size()) {
      if (text_.substr(end).starts_with(mark)) return take(end + mark.size(), ByteKind::kString);
      if (text_[end] == '\n' && !triple) break;
      end += text_[end] == '\\' ? 2 : 1;
    }
    take(end, ByteKind::kString);
  }

  std::string_view text_;
  Comments comments_;
  std::vector<ByteKind> kinds_;  ///< of the bytes so far
};

}  // namespace

const char* name_of(ByteKind kind) {
  constexpr std::array<const char*, kByteKinds> kNames = {"indent", "space",  "word",   "digit",
                                                          "symbol", "string", "comment"};
  return kNames[static_cast<size_t>(kind)];
}

Comments comments_of(std::string_view file_name) {
  constexpr std::array kSuffixes = {".c",    ".cc", ".cpp", ".cs", ".go",    ".h", ".hpp",
                                    ".java", ".js", ".kt",  ".rs", ".swift", ".ts"};
  const bool slashes = std::any_of(kSuffixes.begin(), kSuffixes.end(),
                                   [&](const char* suffix) { return file_name.ends_with(suffix); });
  return slashes ? Comments::kSlashes : Comments::kHash;
}

std::vector<ByteKind> classify_bytes(std::string_view text, Comments comments) {
  return Classifier(text, comments).run();
}

}  // namespace axl
