// Safetensors files that axl writes, whole and damaged.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "axl/base/format.h"
#include "file_damage.h"
#include "safetensors_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Shape = std::vector<int64_t>;

/// A small file with every dtype that axl writes.
struct Sample {
  std::vector<uint8_t> bytes = {1, 2, 3};
  std::vector<float> floats = {1.5f, -0.0f, 3e38f, 1e-45f, 5, 6};
  std::vector<uint16_t> halves = {0x3F80, 0xC000};  // 1, -2
  std::vector<int64_t> ints = {std::numeric_limits<int64_t>::min(), 7};
  float scalar = 9;

  std::vector<TensorSource> tensors() const {
    return {{"bytes", DType::kU8, {3}, bytes.data()},
            {"floats", DType::kF32, {2, 3}, floats.data()},
            {"halves", DType::kBF16, {2}, halves.data()},
            {"ints", DType::kI64, {2, 1}, ints.data()},
            {"scalar", DType::kF32, {}, &scalar},
            {"void", DType::kF32, {0, 5}, nullptr}};
  }
  void write(const fs::path& path) const {
    write_safetensors(path, tensors(),
                      {{"format", "pt"}, {"axl_config", R"({"name": "a \"b\""})"}});
  }
};

TEST(Safetensors, ReadsBackWhatItWrote) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  ASSERT_EQ(file.tensors().size(), 6u);
  for (const TensorSource& source : sample.tensors()) {
    const auto& tensor = file.tensor(source.name);
    EXPECT_EQ(tensor.dtype, source.dtype);
    EXPECT_EQ(tensor.shape, source.shape);
    if (tensor.bytes.empty()) continue;
    EXPECT_EQ(std::memcmp(tensor.bytes.data(), source.data, tensor.bytes.size()), 0) << source.name;
  }
  EXPECT_EQ(file.tensor("floats").elements(), 6);
  EXPECT_EQ(file.tensor("scalar").elements(), 1);
  EXPECT_EQ(file.tensor("void").elements(), 0);
  EXPECT_EQ(file.metadata().at("axl_config"), R"({"name": "a \"b\""})");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_TRUE(file.has_checksum());
  EXPECT_EQ(file.checksum().size(), 16u);
}

TEST(Safetensors, EqualContentGivesEqualFilesAndAlignedTensors) {
  const TempDir dir;
  Sample().write(dir / "x");
  Sample().write(dir / "y");
  EXPECT_EQ(get(dir / "x"), get(dir / "y"));
  const SafetensorsFile file(dir / "x");
  for (const auto& [name, tensor] : file.tensors()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % dtype_bytes(tensor.dtype), 0u);
  }
}

TEST(Safetensors, WrittenMetadataMayBeThatOfAnotherFile) {
  const TempDir dir;
  Sample().write(dir / "x");
  const SafetensorsFile first(dir / "x");
  const float other = 2;
  write_safetensors(dir / "y", std::vector<TensorSource>{{"other", DType::kF32, {1}, &other}},
                    first.metadata());
  EXPECT_NE(SafetensorsFile(dir / "y").checksum(), first.checksum());
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  const TempDir dir;
  write_safetensors(dir / "x", {}, {});
  EXPECT_TRUE(SafetensorsFile(dir / "x").tensors().empty());
}

TEST(Safetensors, ReadsFloatsAndWidensBf16) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  std::vector<float> floats(6), halves(2);
  file.read_floats("floats", {2, 3}, floats.data());
  for (size_t i = 0; i < floats.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(floats[i]), std::bit_cast<uint32_t>(sample.floats[i]));
  }
  file.read_floats("halves", {2}, halves.data());
  EXPECT_EQ(halves, (std::vector<float>{1, -2}));
  file.read_floats("void", {0, 5}, nullptr);
}

TEST(Safetensors, ReadFloatsRefusesOtherNamesShapesAndTypes) {
  const TempDir dir;
  Sample().write(dir / "x");
  const SafetensorsFile file(dir / "x");
  float out[8];
  const auto message = [&](const char* name, const Shape& shape) {
    return message_of<Error>([&] { file.read_floats(name, shape, out); });
  };
  EXPECT_HOLDS(message("missing", {2}), "no tensor 'missing'");
  EXPECT_HOLDS(message("missing", {2}), (dir / "x").string());
  EXPECT_HOLDS(message("floats", {3, 2}), "'[2, 3]', but [3, 2] is needed");
  EXPECT_HOLDS(message("floats", {6}), "'floats'");
  EXPECT_HOLDS(message("ints", {2, 1}), "I64, but F32 or BF16 is needed");
}

TEST(Safetensors, ReadFloatsRefusesValuesThatAreNotFinite) {
  const TempDir dir;
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    Sample sample;
    sample.floats[4] = bad;
    sample.halves[1] = static_cast<uint16_t>(std::bit_cast<uint32_t>(bad) >> 16);
    sample.write(dir / "x");
    const SafetensorsFile file(dir / "x");
    float out[6];
    EXPECT_HOLDS(message_of<Error>([&] {
                   file.read_floats("floats", {2, 3}, out);
                 }),
                 "'floats' holds " + format("{}", bad) + " at element 4");
    EXPECT_HOLDS(message_of<Error>([&] { file.read_floats("halves", {2}, out); }), "at element 1");
  }
}

// ---- Damage -------------------------------------------------------------------------------------

TEST(Safetensors, RefusesTruncationAtEveryByte) {
  const TempDir dir;
  Sample().write(dir / "x");
  expect_every_truncation_refused(dir / "x", opens);
}

TEST(Safetensors, RefusesEverySingleFlippedBit) {
  const TempDir dir;
  Sample().write(dir / "x");
  expect_every_flipped_bit_refused(dir / "x", opens);
}

TEST(Safetensors, SaysThatTheChecksumIsWrong) {
  const TempDir dir;
  Sample().write(dir / "x");
  std::string text = get(dir / "x");
  text.back() ^= 1;
  put(dir / "x", text);
  EXPECT_HOLDS(refusal(dir / "x"), (dir / "x").string() + ": the checksum is ");
  EXPECT_HOLDS(refusal(dir / "x"), "the file is damaged, or another program changed it");
}

TEST(Safetensors, AWriteThatFailsLeavesTheOldFile) {
  const TempDir dir;
  Sample().write(dir / "x");
  const std::string old = get(dir / "x");
  EXPECT_THROW(write_safetensors(dir / "x", {}, {{"bad", "\xFF"}}), Error);
  EXPECT_EQ(get(dir / "x"), old);
  EXPECT_EQ(entries(dir.path()), 1);
}

TEST(Safetensors, TensorsOfOneNameAreADefectOfTheCaller) {
  const TempDir dir;
  const float x = 1;
  const TensorSource source{"a", DType::kF32, {1}, &x};
  const TensorSource reserved{"__metadata__", DType::kF32, {1}, &x};
  const TensorSource negative{"a", DType::kF32, {-1}, &x};
  EXPECT_THROW(write_safetensors(dir / "x", std::vector{source, source}, {}), InternalError);
  EXPECT_THROW(write_safetensors(dir / "x", std::vector{reserved}, {}), InternalError);
  EXPECT_THROW(write_safetensors(dir / "x", std::vector{negative}, {}), InternalError);
  EXPECT_EQ(entries(dir.path()), 0);
}

}  // namespace
}  // namespace axl
