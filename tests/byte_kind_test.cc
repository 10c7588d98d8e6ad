// What kind each byte of source code is.
#include "axl/data/byte_kind.h"

#include <gtest/gtest.h>

#include <string>

namespace axl {
namespace {

/// A letter per byte: i indent, s space, w word, d digit, . symbol, " string, # comment.
std::string kinds(std::string_view text, Comments comments = Comments::kHash) {
  std::string letters;
  for (ByteKind kind : classify_bytes(text, comments))
    letters += "iswd.\"#"[static_cast<size_t>(kind)];
  return letters;
}

TEST(ByteKind, TellsTheTokensOfALine) {
  EXPECT_EQ(kinds("x1 = 0x1F+2"), "wws.sdddd.d");
  EXPECT_EQ(kinds("if a:\n    b\n"), "wwsw.iiiiiwi");
  EXPECT_EQ(kinds("a\t b \n\n c"), "wsswsiiiw");
  EXPECT_EQ(kinds("caf\xc3\xa9_2"), "wwwwwww");
  EXPECT_EQ(kinds(""), "");
}

TEST(ByteKind, StringsEndWhereTheyShould) {
  EXPECT_EQ(kinds("f('a b', \"c\")"), "w.\"\"\"\"\".s\"\"\".");
  EXPECT_EQ(kinds(R"('a\'b'c)"), "\"\"\"\"\"\"w");
  EXPECT_EQ(kinds(R"('a\\'c)"), "\"\"\"\"\"w");
  EXPECT_EQ(kinds("''a"), "\"\"w");
  EXPECT_EQ(kinds("'a\nb"), "\"\"iw") << "an open string ends with its line";
  EXPECT_EQ(kinds("'a\\\nb'c"), "\"\"\"\"\"\"w") << "unless its end is escaped";
  EXPECT_EQ(kinds("'#'#x"), "\"\"\"##");
  EXPECT_EQ(kinds("'a\\"), "\"\"\"") << "the text ends within an escape";
}

TEST(ByteKind, TripleQuotesGoOverLines) {
  EXPECT_EQ(kinds("\"\"\"a\n'\"b\"\"\"c"), std::string(11, '"') + "w");
  EXPECT_EQ(kinds("'''a\n'''\n"), std::string(8, '"') + "i");
  EXPECT_EQ(kinds("\"\"\"\"\"\"c"), std::string(6, '"') + "w") << "an empty one";
  EXPECT_EQ(kinds("'''a"), "\"\"\"\"") << "the text ends within it";
}

TEST(ByteKind, CommentsFollowTheLanguage) {
  EXPECT_EQ(kinds("a # 'b\nc"), "ws####iw");
  EXPECT_EQ(kinds("a // b"), "ws..sw");
  EXPECT_EQ(kinds("a // b\nc", Comments::kSlashes), "ws####iw");
  EXPECT_EQ(kinds("#if /* a\nb */ c", Comments::kSlashes), ".wws#########sw");
  EXPECT_EQ(kinds("/*/ a", Comments::kSlashes), "#####");
  EXPECT_EQ(comments_of("dir/a.py"), Comments::kHash);
  EXPECT_EQ(comments_of("a.cc"), Comments::kSlashes);
  EXPECT_EQ(comments_of("holdout.txt"), Comments::kHash);
}

TEST(ByteKind, EveryByteHasOneKind) {
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  EXPECT_EQ(classify_bytes(text, Comments::kHash).size(), text.size());
  EXPECT_EQ(classify_bytes(text + "'\\", Comments::kSlashes).size(), text.size() + 2);
}

}  // namespace
}  // namespace axl
