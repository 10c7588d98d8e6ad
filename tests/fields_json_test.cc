// Fields to JSON and back.
#include <cmath>

#include "axl/base/error.h"
#include "axl/formats/fields_json.h"
#include "temp_dir.h"

namespace axl {
namespace {

struct Settings {
  bool flag = true;
  int64_t count = 3;
  double rate = 0.1;
  std::string name = "a \"b\"";
  std::vector<int64_t> factors = {1, 2};
  std::vector<double> betas = {1.0 / 3, 1e-45};
  std::vector<std::string> data;

  Fields fields() {
    return {{"name", &name, ""}, {"count", &count, "", 1, 10}, {"rate", &rate, ""},
            {"flag", &flag, ""}, {"factors", &factors, ""},    {"betas", &betas, ""},
            {"data", &data, ""}};
  }
};

TEST(FieldsJson, KeepsTheOrderOfDeclarationAndTheTypes) {
  Settings s;
  s.betas = {0.5, 2};
  EXPECT_EQ(fields_to_json(s.fields()),
            R"({"name":"a \"b\"","count":3,"rate":0.1,"flag":true,"factors":[1,2],)"
            R"("betas":[0.5,2.0],"data":[]})");
}

TEST(FieldsJson, ReadsBackExactly) {
  Settings s, back;
  s.rate = std::nextafter(0.3, 1);
  s.count = 9;
  s.flag = false;
  s.data = {"", "x,y", "[z]", "é"};
  fields_from_json(fields_to_json(s.fields()), back.fields(), "x");
  EXPECT_EQ(back.name, s.name);
  EXPECT_EQ(back.rate, s.rate);
  EXPECT_EQ(back.count, 9);
  EXPECT_EQ(back.flag, false);
  EXPECT_EQ(back.factors, s.factors);
  EXPECT_EQ(back.betas, s.betas);
  EXPECT_EQ(back.data, s.data);
}

TEST(FieldsJson, KeysThatAreNotNamedKeepTheirValues) {
  Settings s;
  fields_from_json(R"({"count": 7})", s.fields(), "x");
  EXPECT_EQ(s.count, 7);
  EXPECT_EQ(s.rate, 0.1);
}

TEST(FieldsJson, RefusesBadJsonTypesAndKeys) {
  Settings s;
  for (const char* text : {"",
                           "[]",
                           "3",
                           "{",
                           "{}x",
                           R"({"count":1.5})",
                           R"({"count":"3"})",
                           R"({"count":null})",
                           R"({"count":11})",
                           R"({"count":[3]})",
                           R"({"count":{}})",
                           R"({"rate":1e999})",
                           R"({"rate":"0.1"})",
                           R"({"flag":1})",
                           R"({"flag":"true"})",
                           R"({"name":3})",
                           R"({"factors":[[1]]})",
                           R"({"factors":["1"]})",
                           R"({"factors":[null]})",
                           R"({"data":[1]})",
                           R"({"count":3,"count":3})",
                           R"({"count":18446744073709551615})"}) {
    EXPECT_THROW(fields_from_json(text, s.fields(), "x"), Error) << text;
  }
}

TEST(FieldsJson, MessagesBeginWithWhere) {
  Settings s;
  const auto message = [&](const char* text) -> std::string {
    try {
      fields_from_json(text, s.fields(), "m.safetensors: axl_config");
    } catch (const Error& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(message(R"({"cuont":1})"),
            "m.safetensors: axl_config: there is no key 'cuont'; did you mean 'count'?");
  EXPECT_TRUE(message("{").starts_with("m.safetensors: axl_config is not valid JSON"));
  EXPECT_TRUE(message(R"({"count":0})").starts_with("m.safetensors: axl_config: count is '0'"));
}

TEST(FieldsJson, RefusesToWriteWhatJsonCannotHold) {
  Settings s;
  s.rate = INFINITY;
  EXPECT_THROW(fields_to_json(s.fields()), InternalError);
  s.rate = 0;
  s.name = "\xFF";
  EXPECT_THROW(fields_to_json(s.fields()), Error);
}

}  // namespace
}  // namespace axl
