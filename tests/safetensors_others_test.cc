// Safetensors files of other writers, valid and hostile.
#include <cstring>

#include "axl/base/format.h"
#include "safetensors_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

// ---- Files that others write --------------------------------------------------------------------

std::string with_length(uint64_t length, const std::string& rest) {
  std::string text(sizeof length, '\0');
  std::memcpy(text.data(), &length, sizeof length);
  return text + rest;
}

/// A file of this header and that many bytes of data.
class Raw {
 public:
  explicit Raw(const std::string& header, size_t data_bytes = 0) {
    put(path(), with_length(header.size(), header + std::string(data_bytes, '\1')));
  }
  fs::path path() const { return dir_ / "raw"; }

 private:
  TempDir dir_;
};

TEST(Safetensors, ReadsGoldenFilesOfAnotherWriter) {
  const fs::path golden = fs::path(AXL_TEST_DIR) / "golden";
  int files = 0;
  for (const auto& entry : fs::directory_iterator(golden)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    const SafetensorsFile file(entry.path());
    EXPECT_FALSE(file.has_checksum());
    EXPECT_HOLDS(file.metadata().at("axl_config"), "\"d_model\": 16");
    EXPECT_EQ(file.tensor("ids").dtype, DType::kI64);
    for (const auto& [name, tensor] : file.tensors()) {
      if (tensor.dtype != DType::kF32) continue;
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      EXPECT_NO_THROW(file.read_floats(name, tensor.shape, values.data())) << name;
    }
  }
  EXPECT_GE(files, 4);
}

// The two numbers were read from the file by Python's struct module.
TEST(Safetensors, FindsTheValuesOfAGoldenFile) {
  const SafetensorsFile file(fs::path(AXL_TEST_DIR) / "golden/tiny.safetensors");
  std::vector<float> values(258 * 16);
  file.read_floats("w.tok_embd.weight", {258, 16}, values.data());
  EXPECT_FLOAT_EQ(values[0], -0.33775195479393005f);
  EXPECT_FLOAT_EQ(values[1], -0.34570807218551636f);
}

TEST(Safetensors, AcceptsEveryValidForm) {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_TRUE(opens(Raw("{}").path()));
  EXPECT_TRUE(opens(Raw("{" + a + "}", 4).path()));
  EXPECT_TRUE(opens(Raw("{" + a + "}       ", 4).path())) << "padded, as the original does";
  EXPECT_TRUE(opens(Raw("{\n \"__metadata__\" : {},\n" + a + "}", 4).path()));
  EXPECT_TRUE(opens(Raw(R"({"z":{"data_offsets":[2,3],"shape":[],"dtype":"BOOL"},
      "":{"dtype":"F16","shape":[1,1,1],"data_offsets":[0,2]},
      "e":{"dtype":"F64","shape":[9223372036854775807,0],"data_offsets":[2,2]}})",
                        3)
                        .path()) == false)
      << "the product of the shape exceeds an int64";
  EXPECT_TRUE(opens(Raw(R"({"z":{"data_offsets":[2,3],"shape":[],"dtype":"BOOL"},
      "":{"dtype":"F16","shape":[1,1,1],"data_offsets":[0,2]},
      "e":{"dtype":"F64","shape":[0,9223372036854775807],"data_offsets":[2,2]}})",
                        3)
                        .path()))
      << "any order of tensors, blanks, empty tensors";
}

TEST(Safetensors, KnowsTheSizeOfEveryDtype) {
  const std::vector<std::pair<std::string, size_t>> types = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  for (const auto& [name, bytes] : types) {
    const std::string header =
        format(R"({{"t":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", name, 3 * bytes);
    const Raw raw(header, 3 * bytes);
    const SafetensorsFile file(raw.path());
    EXPECT_EQ(dtype_bytes(file.tensor("t").dtype), bytes) << name;
    EXPECT_EQ(dtype_name(file.tensor("t").dtype), name);
  }
}

TEST(Safetensors, RefusesTruncationWithoutAChecksum) {
  const TempDir dir;
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string whole = with_length(header.size(), header + "12345678");
  put(dir / "x", whole);
  EXPECT_TRUE(opens(dir / "x"));
  for (size_t size = 0; size < whole.size(); ++size) {
    put(dir / "x", whole.substr(0, size));
    EXPECT_FALSE(opens(dir / "x")) << size;
  }
}

// ---- Hostile files ------------------------------------------------------------------------------

TEST(Safetensors, RefusesHostileHeaderLengths) {
  const TempDir dir;
  for (const uint64_t length :
       {uint64_t{0}, uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 31, (uint64_t{1} << 63) - 1,
        uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    put(dir / "x", with_length(length, "{}"));
    EXPECT_HOLDS(refusal(dir / "x"), "not a safetensors file, or damaged") << length;
  }
}

/// The message for a header whose tensor "t" has these three values; the file has 8 bytes of data.
std::string refusal_of_tensor(const std::string& dtype, const std::string& shape,
                              const std::string& offsets) {
  const Raw raw(
      format(R"({{"t":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets), 8);
  return refusal(raw.path());
}

TEST(Safetensors, RefusesHostileOffsets) {
  EXPECT_TRUE(opens(Raw(R"({"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 8).path()));
  for (const char* offsets : {"[0,9]", "[8,0]", "[9,9]", "[8,16]", "[0,9223372036854775807]",
                              "[9223372036854775807,9223372036854775807]",
                              "[9223372036854775800,8]", "[]", "[0]", "[0,8,8]"}) {
    EXPECT_HOLDS(refusal_of_tensor("\"U8\"", "[8]", offsets), "'t' has data_offsets") << offsets;
  }
  for (const char* offsets :
       {"[-1,7]", "[0,-8]", "[0,18446744073709551615]", "[0,9223372036854775808]", "[0,8.0]",
        "[0,1e1]", "[0,99999999999999999999999]", "[null,8]", "[0,\"8\"]"}) {
    EXPECT_HOLDS(refusal_of_tensor("\"U8\"", "[8]", offsets), "not") << offsets;
  }
  EXPECT_HOLDS(refusal_of_tensor("\"U8\"", "[8]", "{}"), "is not a list");
  EXPECT_HOLDS(refusal_of_tensor("\"U8\"", "[8]", "[[0],8]"), "nested deeper");
}

TEST(Safetensors, RefusesHostileShapes) {
  for (const char* shape :
       {"[7]", "[9]", "[]", "[0]", "[2,2]", "[9223372036854775807]", "[4294967296,4294967296]",
        "[4294967296,4294967296,0]", "[9223372036854775807,9223372036854775807,8]",
        "[3,6148914691236517208]"}) {
    EXPECT_HOLDS(refusal_of_tensor("\"U8\"", shape, "[0,8]"), "does not fill its 8 bytes") << shape;
  }
  // 2^62 elements of 4 bytes are 2^64, which would wrap to 0.
  EXPECT_HOLDS(refusal_of_tensor("\"F32\"", "[4611686018427387904]", "[0,0]"), "does not fill");
  for (const char* shape : {"[-8]", "[-2,-4]", "[8.0]", "[\"8\"]", "[true]", "8", "null"}) {
    EXPECT_HOLDS(refusal_of_tensor("\"U8\"", shape, "[0,8]"), "not") << shape;
  }
}

TEST(Safetensors, RefusesUnknownDtypesByName) {
  EXPECT_HOLDS(refusal_of_tensor("\"F4\"", "[8]", "[0,8]"), "'t' has the dtype 'F4'");
  EXPECT_HOLDS(refusal_of_tensor("\"f32\"", "[2]", "[0,8]"), "'f32'");
  EXPECT_HOLDS(refusal_of_tensor("\"\"", "[2]", "[0,8]"), "''");
  EXPECT_HOLDS(refusal_of_tensor("32", "[2]", "[0,8]"), "'32'");
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](const char* first, const char* second, size_t bytes) {
    return refusal(Raw(format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},
                                  "b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                              first, second),
                       bytes)
                       .path());
  };
  EXPECT_HOLDS(two("[0,4]", "[0,4]", 4), "'b' begins at byte 0 of the data, but 4 was expected");
  EXPECT_HOLDS(two("[0,4]", "[3,7]", 7), "'b' begins at byte 3");
  EXPECT_HOLDS(two("[5,9]", "[0,4]", 9), "'a' begins at byte 5 of the data, but 4 was expected");
  EXPECT_HOLDS(two("[1,5]", "[5,9]", 9), "'a' begins at byte 1");
  EXPECT_HOLDS(two("[0,4]", "[4,8]", 9), "the last 1 bytes belong to no tensor");
  EXPECT_HOLDS(refusal(Raw("{}", 3).path()), "the last 3 bytes belong to no tensor");
}

TEST(Safetensors, RefusesRepeatedKeys) {
  const std::string t = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_HOLDS(refusal(Raw("{" + t + "," + t + "}", 1).path()), "the key \"t\" twice");
  EXPECT_HOLDS(refusal(Raw(R"({"__metadata__":{"a":"1","a":"2"}})").path()), "\"a\" twice");
  EXPECT_HOLDS(
      refusal(
          Raw(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1).path()),
      "\"dtype\" twice");
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  for (const char* header :
       {"[]",
        "null",
        "{",
        "}",
        "{}{}",
        "{} x",
        " {}",
        "\xEF\xBB\xBF{}",
        "{\"t\":1}",
        "{\"t\":{}}",
        "{\"t\":null}",
        "{\"__metadata__\":[]}",
        "{\"__metadata__\":{\"a\":1}}",
        "{\"__metadata__\":null}",
        "{\"t\":{\"dtype\":\"U8\",\"shape\":[0]}}",
        "{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}}",
        "{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"offsets\":[0,0]}}",
        "{\"\xFF\":{}}",
        "{\"t",
        "{'a':1}"}) {
    EXPECT_FALSE(opens(Raw(header).path())) << header;
  }
  EXPECT_FALSE(opens(Raw(std::string("{}\0", 3)).path()));
}

TEST(Safetensors, RefusesDeepNestingWithoutRecursion) {
  const std::string deep(2'000'000, '[');
  EXPECT_HOLDS(refusal(Raw("{\"t\":" + deep).path()), "nested deeper");
  std::string objects = "{\"t\":";
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_HOLDS(refusal(Raw(objects).path()), "nested deeper");
}

TEST(Safetensors, MessagesShowHostileNamesShortAndClean) {
  const std::string name = "\\u001b[2J" + std::string(100'000, 'n');
  const std::string message = refusal(Raw("{\"" + name + "\":{}}").path());
  EXPECT_LT(message.size(), 400u);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(Safetensors, RefusesAChecksumThatAxlDidNotWrite) {
  const auto with = [](const char* metadata) { return refusal(Raw(metadata).path()); };
  EXPECT_HOLDS(with(R"({"__metadata__":{"axl_checksum":""}})"), "not as axl writes it");
  EXPECT_HOLDS(with(R"({"__metadata__":{"axl_checksum":"0123"}})"), "not as axl writes it");
  EXPECT_HOLDS(with(R"({"__metadata__":{"axl_checksum": "0123456789abcdef"}})"), "not as axl");
  EXPECT_HOLDS(with(R"({"__metadata__":{"axl_checksum":"0123456789abcdef"}})"), "the checksum is");
  EXPECT_HOLDS(with(R"({"__metadata__":{"axl_checksun":"0123456789abcdef"}})"), "axl_checksun");
}

TEST(Safetensors, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  EXPECT_HOLDS(refusal(dir / "missing"), "No such file");
  EXPECT_HOLDS(refusal(dir.path()), "is a directory");
}

}  // namespace
}  // namespace axl
