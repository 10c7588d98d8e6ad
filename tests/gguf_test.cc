#include "axl/formats/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/formats/block_codec.h"
#include "file_damage.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Shape = std::vector<int64_t>;

// ---- Files that axl writes ----------------------------------------------------------------------

GgufTensorSource source(const std::string& name, ElementType type, const Shape& shape,
                        const std::string& bytes) {
  return {name, type, shape,
          [bytes](std::byte* out) { std::memcpy(out, bytes.data(), bytes.size()); }};
}

/// Every type of value, and tensors that need padding and that need none.
struct Sample {
  GgufMetadata metadata = {
      {"general.architecture", std::string("axl")},
      {"u8", uint8_t{255}},
      {"i8", int8_t{-128}},
      {"u16", uint16_t{65535}},
      {"i16", int16_t{-32768}},
      {"u32", uint32_t{4000000000}},
      {"i32", int32_t{-7}},
      {"f32", 1.5f},
      {"yes", true},
      {"no", false},
      {"u64", ~uint64_t{0}},
      {"i64", std::numeric_limits<int64_t>::min()},
      {"f64", 1e300},
      {"texts", std::vector<std::string>{"", "a\nb", std::string(3, '\0')}},
      {"bools", std::vector<bool>{true, false, true}},
      {"bytes", std::vector<uint8_t>{1, 2, 3}},
      {"ints", std::vector<int32_t>{}},
      {"longs", std::vector<uint64_t>{5}},
      {"floats", std::vector<float>{0.5f, -2}},
  };
  std::vector<GgufTensorSource> tensors = {
      source("odd", ElementType::kF32, {3}, "123456789012"),
      source("coded", ElementType::kQ8_0, {2, 3, 32}, std::string(6 * 34, 'c')),
      source("void", ElementType::kF16, {0, 4}, ""),
      source("scalar", ElementType::kI32, {}, "abcd"),
      source("whole", ElementType::kBF16, {2, 8}, std::string(32, 'w')),
  };
  void write(const fs::path& path) const { write_gguf(path, metadata, tensors); }
};

std::string text_of(const GgufFile::Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

TEST(Gguf, ReadsBackWhatItWrote) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir / "x");
  const GgufFile file(dir / "x");
  GgufMetadata metadata = file.metadata();
  ASSERT_EQ(metadata.back().first, "axl.checksum");
  metadata.pop_back();
  EXPECT_EQ(metadata, sample.metadata);
  ASSERT_EQ(file.tensors().size(), 5u);
  for (const GgufTensorSource& expected : sample.tensors) {
    const GgufFile::Tensor& tensor = file.tensor(expected.name);
    EXPECT_EQ(tensor.type, expected.type);
    EXPECT_EQ(tensor.shape, expected.shape);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 32, 0u);
    std::string bytes(expected.bytes(), '\0');
    expected.fill(reinterpret_cast<std::byte*>(bytes.data()));
    EXPECT_EQ(text_of(tensor), bytes) << expected.name;
  }
  EXPECT_HOLDS(message_of<Error>([&] { file.tensor("missing"); }), "no tensor 'missing'");
}

TEST(Gguf, LookupsTellTypesApart) {
  const TempDir dir;
  Sample().write(dir / "x");
  const GgufFile file(dir / "x");
  EXPECT_EQ(file.get<uint32_t>("u32"), 4000000000);
  EXPECT_EQ(file.get<std::string>("general.architecture"), "axl");
  EXPECT_EQ(file.get<std::vector<uint8_t>>("bytes").size(), 3u);
  EXPECT_EQ(file.find<float>("missing"), nullptr);
  EXPECT_EQ(*file.find<bool>("no"), false);
  EXPECT_HOLDS(message_of<Error>([&] { file.get<uint32_t>("missing"); }),
               "no 'missing' in the metadata");
  EXPECT_HOLDS(message_of<Error>([&] { file.get<uint32_t>("i32"); }), "is i32, but u32 is needed");
  EXPECT_HOLDS(message_of<Error>([&] { file.find<std::string>("texts"); }),
               "is array of string, but string is needed");
  EXPECT_HOLDS(message_of<Error>([&] { file.get<uint32_t>("i32"); }), (dir / "x").string());
}

// The layout in words of the format's documentation, byte by byte.
TEST(Gguf, WritesTheDocumentedBytes) {
  const TempDir dir;
  write_gguf(dir / "x", {{"k", uint32_t{7}}},
             std::vector{source("t", ElementType::kF32, {2, 1}, "floats!!")});
  const std::string text = get(dir / "x");
  const std::string before(
      "GGUF"
      "\3\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\1\0\0\0\0\0\0\0k"
      "\4\0\0\0"
      "\7\0\0\0"
      "\14\0\0\0\0\0\0\0axl.checksum"
      "\10\0\0\0"
      "\20\0\0\0\0\0\0\0",
      4 + 4 + 16 + 17 + 20 + 12);
  const std::string info(
      "\1\0\0\0\0\0\0\0t"
      "\2\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\0\0\0\0"
      "\0\0\0\0\0\0\0\0",
      9 + 4 + 16 + 4 + 8);
  const size_t header = before.size() + 16 + info.size();
  ASSERT_EQ(header, 130u);
  EXPECT_EQ(text.substr(0, before.size()), before);
  EXPECT_EQ(text.substr(before.size() + 16),
            info + std::string(160 - header, '\0') + "floats!!" + std::string(24, '\0'));
}

TEST(Gguf, AMatrixOfBlocksComesBackAsItWasCoded) {
  const TempDir dir;
  std::vector<float> values(3 * 320);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17) - 8;
  const ConstMat x(values.data(), 3, 300, 320);
  write_gguf(dir / "x", {},
             std::vector<GgufTensorSource>{{"m", ElementType::kQ6_K, {3, 512}, [&](std::byte* out) {
                                              encode_matrix(ElementType::kQ6_K, x, out);
                                            }}});
  const GgufFile file(dir / "x");
  const PackedMatrix matrix = {ElementType::kQ6_K, file.tensor("m").bytes.data(), 3, 300};
  ASSERT_EQ(static_cast<size_t>(matrix.bytes()), file.tensor("m").bytes.size());
  std::vector<std::byte> coded(matrix.row_bytes());
  encode_row(matrix.type, x.row(2), 300, coded.data());
  std::vector<float> row(300), expected(300);
  decode_row(matrix.type, coded.data(), 300, expected.data());
  decode_row(matrix, 2, row.data());
  EXPECT_EQ(row, expected);
  for (int64_t j = 0; j < 300; ++j) EXPECT_NEAR(row[j], x(2, j), 0.25);  // a step
}

TEST(Gguf, EqualContentGivesEqualFilesAndMetadataMayBeThatOfAnotherFile) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir / "x");
  GgufMetadata metadata = GgufFile(dir / "x").metadata();
  metadata.emplace_back("general.alignment", uint32_t{64});
  write_gguf(dir / "y", metadata, sample.tensors);
  EXPECT_EQ(get(dir / "x"), get(dir / "y"));
}

TEST(Gguf, WhatCannotBeWrittenIsADefect) {
  const TempDir dir;
  const auto writing = [&](const GgufMetadata& metadata,
                           const std::vector<GgufTensorSource>& tensors) {
    message_of<InternalError>([&] { write_gguf(dir / "x", metadata, tensors); });
  };
  const auto t = source("t", ElementType::kF32, {1}, "1234");
  writing({{"k", true}, {"k", false}}, {});
  writing({}, {t, t});
  writing({}, {source("t", ElementType::kQ8_0, {2, 33}, "")});
  writing({}, {source("t", ElementType::kF32, {-1}, "")});
  writing({}, {source("t", ElementType::kF32, {1, 1, 1, 1, 1}, "1234")});
  writing({}, {source(std::string(64, 't'), ElementType::kF32, {1}, "1234")});
  EXPECT_EQ(entries(dir.path()), 0);
}

// ---- Damage -------------------------------------------------------------------------------------

/// Whether the file opens and its checksum, if any, is right; anything thrown but an Error fails.
bool sound(const fs::path& path) {
  try {
    GgufFile(path).verify_checksum();
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(Gguf, RefusesTruncationAtEveryByte) {
  const TempDir dir;
  Sample().write(dir / "x");
  expect_every_truncation_refused(dir / "x", sound);
  Sample().write(dir / "x");
  // The header alone tells: the last tensor ends with the file.
  expect_every_truncation_refused(dir / "x", [](const fs::path& path) {
    try {
      return !GgufFile(path).path().empty();
    } catch (const Error&) {
      return false;
    }
  });
}

TEST(Gguf, RefusesEverySingleFlippedBit) {
  const TempDir dir;
  Sample().write(dir / "x");
  expect_every_flipped_bit_refused(dir / "x", sound);
}

TEST(Gguf, TheChecksumIsReadOnRequest) {
  const TempDir dir;
  Sample().write(dir / "x");
  std::string text = get(dir / "x");
  text.back() ^= 1;
  put(dir / "x", text);
  const GgufFile file(dir / "x");
  EXPECT_TRUE(file.has_checksum());
  EXPECT_HOLDS(message_of<Error>([&] { file.verify_checksum(); }),
               (dir / "x").string() + ": the checksum is ");
}

}  // namespace
}  // namespace axl
