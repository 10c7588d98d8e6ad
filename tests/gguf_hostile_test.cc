// GGUF files put together by hand: what other writers may write, and what nobody may.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/formats/gguf.h"
#include "temp_dir.h"

namespace axl {
namespace {

/// A file put together by hand.
class Raw {
 public:
  Raw(uint64_t tensors, uint64_t values) { raw("GGUF").u32(3).u64(tensors).u64(values); }
  Raw() = default;

  Raw& raw(const std::string& bytes) {
    text_ += bytes;
    return *this;
  }
  Raw& u32(uint32_t value) { return number(value); }
  Raw& u64(uint64_t value) { return number(value); }
  Raw& text(const std::string& bytes) { return u64(bytes.size()).raw(bytes); }
  Raw& tensor(const std::string& name, const std::vector<uint64_t>& ne, uint32_t type,
              uint64_t offset) {
    text(name).u32(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) u64(n);
    return u32(type).u64(offset);
  }
  Raw& pad(size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }

  /// Whether it opens; anything thrown but an Error is a failure.
  bool opens() const {
    try {
      open();
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  std::string refusal() const {
    return message_of<Error>([&] { open(); });
  }

 private:
  template <class T>
  Raw& number(T value) {
    return raw(std::string(reinterpret_cast<const char*>(&value), sizeof value));
  }

  void open() const {
    const TempDir dir;
    put(dir / "raw", text_);
    GgufFile(dir / "raw").verify_checksum();
  }

  std::string text_;
};

constexpr uint64_t kHuge[] = {
    uint64_t{1} << 31, (uint64_t{1} << 61) + 1, uint64_t{1} << 62, (uint64_t{1} << 63) - 1,
    uint64_t{1} << 63, ~uint64_t{0} - 7,        ~uint64_t{0}};

TEST(GgufOfOthers, OpensFilesWithoutChecksumOrTensorsOrLastPadding) {
  EXPECT_TRUE(Raw(0, 0).opens());
  EXPECT_TRUE(Raw(0, 0).pad().opens());
  EXPECT_TRUE(Raw(1, 0).tensor("t", {2}, 0, 0).pad().raw("12345678").opens());
  EXPECT_TRUE(Raw(1, 0).tensor("t", {2}, 0, 0).pad().raw("12345678").pad().opens());
  EXPECT_FALSE(Raw(1, 0).tensor("t", {2}, 0, 0).pad().raw("123456789").opens());
  EXPECT_TRUE(Raw(1, 0).tensor("", {32, 1, 1, 2}, 8, 0).pad().raw(std::string(68, 'x')).opens());
  EXPECT_TRUE(Raw(1, 0).tensor("t", {kHuge[3], 0}, 0, 0).pad().opens());
}

TEST(GgufOfOthers, RefusesOtherMagicsAndVersions) {
  EXPECT_HOLDS(Raw().refusal(), "does not begin with GGUF");
  EXPECT_HOLDS(Raw().raw("GGUE").u32(3).u64(0).u64(0).refusal(), "does not begin with GGUF");
  for (const uint32_t version : {0u, 1u, 2u, 4u, 0x03000000u})
    EXPECT_HOLDS(Raw().raw("GGUF").u32(version).u64(0).u64(0).refusal(),
                 format("version {}", version));
}

TEST(GgufOfOthers, RefusesCountsAndLengthsThatTheFileCannotHold) {
  const std::string rest(100, '\0');
  for (const uint64_t huge : kHuge) {
    EXPECT_HOLDS(Raw(huge, 0).raw(rest).refusal(), "tensors, where 100 bytes are left");
    EXPECT_HOLDS(Raw(0, huge).raw(rest).refusal(), "metadata, where 100 bytes are left");
    EXPECT_HOLDS(Raw(0, 1).u64(huge).raw(rest).refusal(), "bytes of text, where 100");
    EXPECT_HOLDS(Raw(0, 1).text("k").u32(8).u64(huge).raw(rest).refusal(), "where 100");
    EXPECT_HOLDS(Raw(1, 0).u64(huge).raw(rest).refusal(), "bytes of text, where 100");
    for (uint32_t type = 0; type <= 12; ++type) {
      if (type == 9) continue;
      EXPECT_HOLDS(Raw(0, 1).text("k").u32(9).u32(type).u64(huge).raw(rest).refusal(),
                   "elements of an array, where 100 bytes are left");
    }
  }
  EXPECT_HOLDS(Raw(0, 1).text("k").u32(9).u32(5).u64(26).raw(rest).refusal(), "26 elements");
}

TEST(GgufOfOthers, RefusesTypesOfValuesThatThereAreNot) {
  const std::string rest(100, '\0');
  for (const uint32_t type : {13u, 14u, 255u, ~0u}) {
    EXPECT_HOLDS(Raw(0, 1).text("k").u32(type).raw(rest).refusal(), format("the type {}", type));
    EXPECT_HOLDS(Raw(0, 1).text("k").u32(9).u32(type).u64(1).raw(rest).refusal(), "'k' has");
  }
  EXPECT_HOLDS(Raw(0, 1).text("k").u32(9).u32(9).u64(1).raw(rest).refusal(), "array of arrays");
  EXPECT_HOLDS(Raw(0, 1).text("k").u32(7).raw("\2").refusal(), "2 as a bool");
}

TEST(GgufOfOthers, RefusesRepeatedKeysAndNames) {
  const std::string yes("\7\0\0\0\1", 5);
  EXPECT_HOLDS(Raw(0, 2).text("k").raw(yes).text("k").raw(yes).refusal(), "'k' appears twice");
  EXPECT_HOLDS(Raw(2, 0)
                   .tensor("t", {8}, 0, 0)
                   .tensor("t", {8}, 0, 32)
                   .pad()
                   .raw(std::string(64, 'x'))
                   .refusal(),
               "'t' appears twice");
}

TEST(GgufOfOthers, RefusesHostileAlignments) {
  const auto with_alignment = [](uint32_t alignment) {
    Raw raw(1, 1);
    raw.text("general.alignment").u32(4).u32(alignment).tensor("t", {2}, 0, 0);
    return raw;
  };
  for (const uint32_t bad : {0u, 1u, 4u, 24u, 33u, ~0u})
    EXPECT_HOLDS(with_alignment(bad).pad().raw("12345678").refusal(), "a power of two from 8 on");
  EXPECT_HOLDS(with_alignment(1u << 31).pad().raw("12345678").refusal(), "ends before the data");
  EXPECT_TRUE(with_alignment(8).pad(8).raw("12345678").opens());
  EXPECT_TRUE(with_alignment(256).pad(256).raw("12345678").opens());
  EXPECT_HOLDS(Raw(0, 1).text("general.alignment").u32(10).u64(32).refusal(), "must be an u32");
}

TEST(GgufOfOthers, RefusesHostileShapesAndTypes) {
  const auto refusal = [](const std::vector<uint64_t>& ne, uint32_t type) {
    return Raw(1, 0).tensor("t", ne, type, 0).pad().raw(std::string(32, 'x')).refusal();
  };
  EXPECT_HOLDS(refusal({1, 1, 1, 1, 1}, 0), "'t' has 5 dimensions");
  EXPECT_HOLDS(refusal({uint64_t{1} << 63}, 0), "a dimension of 9223372036854775808");
  EXPECT_HOLDS(refusal({~uint64_t{0}, 0}, 0), "a dimension of");
  EXPECT_HOLDS(refusal({uint64_t{1} << 61}, 0), "more than any file");
  EXPECT_HOLDS(refusal({uint64_t{1} << 62, 4}, 8), "more than any file");
  EXPECT_HOLDS(refusal({3037000500, 3037000500}, 1), "more than any file");
  EXPECT_HOLDS(refusal({33}, 8), "whole blocks of 32");
  EXPECT_HOLDS(refusal({128, 2}, 12), "[2, 128] of q4_k");
  EXPECT_HOLDS(refusal({8}, 3), "'t' is of ggml's type 3");
  EXPECT_HOLDS(refusal({8}, ~0u), "'t' is of ggml's type 4294967295");
}

TEST(GgufOfOthers, RefusesTensorsThatAreNotInTheirPlace) {
  const auto refusal = [](uint64_t first, uint64_t second, size_t bytes) {
    return Raw(2, 0)
        .tensor("a", {9}, 0, first)
        .tensor("b", {8}, 0, second)
        .pad()
        .raw(std::string(bytes, 'x'))
        .refusal();
  };
  EXPECT_TRUE(Raw(2, 0)
                  .tensor("a", {9}, 0, 0)
                  .tensor("b", {8}, 0, 64)
                  .pad()
                  .raw(std::string(96, 'x'))
                  .opens());
  EXPECT_HOLDS(refusal(0, 36, 96), "'b' begins at byte 36 of the data, but 64 was expected");
  EXPECT_HOLDS(refusal(0, 32, 96), "'b' begins") << "overlapping";
  EXPECT_HOLDS(refusal(0, 0, 96), "'b' begins") << "overlapping";
  EXPECT_HOLDS(refusal(0, 96, 128), "'b' begins") << "a hole";
  EXPECT_HOLDS(refusal(32, 64, 128), "'a' begins");
  for (const uint64_t huge : kHuge) EXPECT_HOLDS(refusal(0, huge, 96), "'b' begins");
  EXPECT_HOLDS(refusal(0, 64, 95), "'b' ends at byte 96 of the data, but there are 95");
  EXPECT_HOLDS(refusal(0, 64, 35), "'a' ends");
  EXPECT_HOLDS(refusal(0, 64, 40), "'b' ends");
  EXPECT_HOLDS(refusal(0, 64, 97), "1 bytes of data belong to no tensor");
}

TEST(GgufOfOthers, AChecksumThatIsNotTheLastKeyIsOfTheFileBeforeItWasRewritten) {
  const auto digits = [](int keys) {
    return Raw(0, keys).text("axl.checksum").u32(8).text("0123456789abcdef");
  };
  EXPECT_HOLDS(digits(1).refusal(), "the checksum is");
  EXPECT_TRUE(digits(2).text("general.file_type").u32(4).u32(7).opens());
  EXPECT_FALSE(digits(2).text("general.file_type").u32(4).opens());
}

TEST(GgufOfOthers, ADamagedChecksumKeyDoesNotPassForNone) {
  EXPECT_HOLDS(Raw(0, 1).text("axl.checksun").u32(8).text(std::string(16, '0')).refusal(),
               "'axl.checksun'");
  EXPECT_HOLDS(Raw(0, 1).text("axl.checksum").u32(8).text("0").refusal(), "16 digits");
  EXPECT_HOLDS(Raw(0, 1).text("axl.checksum").u32(4).u32(0).refusal(), "16 digits");
}

}  // namespace
}  // namespace axl
