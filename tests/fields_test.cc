// Named fields set from text.
#include <cmath>
#include <limits>

#include "axl/base/error.h"
#include "axl/base/fields.h"
#include "temp_dir.h"

namespace axl {
namespace {

/// One field of each kind.
struct Sample {
  bool flag = false;
  int64_t count = 3;
  double rate = 0.5;
  std::string kind = "lion";
  std::vector<int64_t> factors = {1, 2, 4};
  std::vector<double> betas = {0.9, 0.99};
  std::vector<std::string> data;

  Fields fields() {
    return {{"flag", &flag, ""},
            {"count", &count, "", 1, 10},
            {"train.rate", &rate, "", 0, 1},
            {"kind", &kind, "", {}, {}, {"lion", "adamw", "sgd"}},
            {"factors", &factors, "", 1, 64},
            {"betas", &betas, ""},
            {"data", &data, ""}};
  }
  void set(const std::string& name, const std::string& text) {
    set_field(find_field(fields(), name, "test"), parse_field_text(text), "test");
  }
};

TEST(Fields, SetsEveryKind) {
  Sample s;
  s.set("flag", "true");
  s.set("count", " 10 ");
  s.set("train.rate", "1e-3");
  s.set("kind", "adamw");
  s.set("factors", "[1, 3]");
  s.set("betas", "0.5");
  s.set("data", "[a b, \"c, d\", e]");
  EXPECT_EQ(s.flag, true);
  EXPECT_EQ(s.count, 10);
  EXPECT_EQ(s.rate, 1e-3);
  EXPECT_EQ(s.kind, "adamw");
  EXPECT_EQ(s.factors, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(s.betas, (std::vector<double>{0.5}));
  EXPECT_EQ(s.data, (std::vector<std::string>{"a b", "c, d", "e"}));
  s.set("data", "[]");
  EXPECT_TRUE(s.data.empty());
}

TEST(Fields, RefusesWhatIsNotWhollyOfTheKind) {
  Sample s;
  for (const char* text : {"1.5", "1e2", "2x", "x2", "", "\" 2\"", "0x2", "nan", "+2", "2 3",
                           "99999999999999999999", "[2]", "true"}) {
    EXPECT_THROW(s.set("count", text), UsageError) << text;
  }
  for (const char* text : {"nan", "inf", "-inf", "1e999", "0.5x", "", "0,5", "[0.5]"}) {
    EXPECT_THROW(s.set("train.rate", text), UsageError) << text;
    EXPECT_THROW(s.set("betas", text[0] == '[' ? "[[1]]" : text), UsageError) << text;
  }
  for (const char* text : {"1", "yes", "True", "", "[true]"}) {
    EXPECT_THROW(s.set("flag", text), UsageError) << text;
  }
  EXPECT_EQ(s.count, 3);
  EXPECT_EQ(s.rate, 0.5);
  EXPECT_EQ(s.betas, (std::vector<double>{0.9, 0.99})) << "a refused value changes nothing";
}

TEST(Fields, HoldsValuesAndElementsToTheRange) {
  Sample s;
  EXPECT_NO_THROW(s.set("count", "1"));
  EXPECT_THROW(s.set("count", "0"), UsageError);
  EXPECT_THROW(s.set("count", "11"), UsageError);
  EXPECT_THROW(s.set("count", "-9223372036854775808"), UsageError);
  EXPECT_THROW(s.set("train.rate", "1.0000000000000002"), UsageError);
  EXPECT_THROW(s.set("factors", "[1, 65]"), UsageError);
  EXPECT_EQ(s.factors, (std::vector<int64_t>{1, 2, 4}));
}

TEST(Fields, MessagesSayWhereWhatAndWhatIsExpected) {
  Sample s;
  const auto message = [&](const char* name, const char* text) {
    return message_of<UsageError>([&] { s.set(name, text); });
  };
  EXPECT_EQ(message("count", "0"),
            "test: count is '0', but it must be a whole number from 1 to 10");
  EXPECT_EQ(message("kind", "adam"),
            "test: kind is 'adam', but it must be one of lion, adamw, sgd; did you mean 'adamw'?");
  EXPECT_EQ(message("betas", "x"), "test: betas is 'x', but it must be a finite number");
}

TEST(Fields, AnUnknownKeyNamesTheNearest) {
  Sample s;
  const auto message = [&](const char* name) {
    return message_of<UsageError>([&] { find_field(s.fields(), name, "axl.yaml:7"); });
  };
  EXPECT_EQ(message("cuont"), "axl.yaml:7: there is no key 'cuont'; did you mean 'count'?");
  EXPECT_EQ(message("rate"), "axl.yaml:7: there is no key 'rate'; did you mean 'train.rate'?");
  EXPECT_HOLDS(message("nonsense"), "known are flag, count");
}

TEST(Fields, TextIsReadBackExactly) {
  constexpr double kTiny = std::numeric_limits<double>::denorm_min();
  constexpr double kHuge = std::numeric_limits<double>::max();
  Sample s;
  s.betas = {0.1, 1.0 / 3, -0.0, kTiny, kHuge, 1e22, 123456789012345678.0};
  s.rate = std::nextafter(0.1, 1);
  s.factors = {1, 64};
  s.data = {"plain", "",           " blank ", "a,b", "[x]", "q\"q",
            "b\\n",  "two\nlines", "null",    "-",   "é: #"};
  Sample back;
  for (const Field& field : s.fields()) back.set(field.name, field_text(field));
  EXPECT_EQ(back.betas, s.betas);
  EXPECT_TRUE(std::signbit(back.betas[2]));
  EXPECT_EQ(back.rate, s.rate);
  EXPECT_EQ(back.data, s.data);
  EXPECT_EQ(back.factors, s.factors);
}

TEST(Fields, TextIsShort) {
  Sample s;
  s.rate = 0.1;
  EXPECT_EQ(field_text(find_field(s.fields(), "train.rate", "")), "0.1");
  EXPECT_EQ(field_text(find_field(s.fields(), "factors", "")), "[1, 2, 4]");
  EXPECT_EQ(field_text(find_field(s.fields(), "kind", "")), "lion");
}

TEST(Fields, RefusesTextThatIsNoValue) {
  for (const char* text :
       {"[1, 2", "[", "[1,,2]", "[,]", "[1,]", "\"open", "\"a\" b", "[\"a\" b]"}) {
    EXPECT_THROW(parse_field_text(text), UsageError) << text;
  }
}

}  // namespace
}  // namespace axl
