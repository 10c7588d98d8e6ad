#include "cli/baselines.h"

#include <gtest/gtest.h>

#include <string>

#include "axl/base/error.h"
#include "axl/base/rng.h"
#include "environment.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

const auto kAlways = [](const std::string&) { return true; };

/// Two files, a priming text that holds the first of them, and fake compressors. Those remove
/// nothing: an input's size is its compressed size, so that every figure is known.
class Baselines : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(dir_ / "bin");
    fs::create_directory(dir_ / "tmp");
    put(dir_ / "a", std::string(100, 'a'));
    put(dir_ / "b", std::string(30, 'b'));
    put(dir_ / "prime", std::string(1000, 'p'));
  }
  void fake(const std::string& name, const std::string& body) {
    put_script(dir_ / "bin" / name, body);
  }
  fs::path path(const char* name) const { return dir_ / name; }

  TempDir dir_;
  Environment path_{"PATH", (dir_ / "bin").string()}, tmp_{"TMPDIR", (dir_ / "tmp").string()};
};

constexpr const char* kCat = "for input; do :; done; exec /bin/cat \"$input\"";

TEST_F(Baselines, WhatIsMissingIsSaid) {
  fake("xz", kCat);
  const auto baselines = run_baselines({path("a")}, {}, kAlways);
  ASSERT_EQ(baselines.size(), 3u);
  EXPECT_EQ(baselines[0].name, "xz");
  EXPECT_EQ(baselines[0].missing, "");
  EXPECT_EQ(baselines[1].missing, "zstd is not installed: apt install zstd");
  EXPECT_EQ(baselines[2].missing, "7z is not installed: apt install p7zip-full");
  EXPECT_EQ(baselines[2].command, "");
}

TEST_F(Baselines, PrimedIsWhatATextAddsToThePrimingText) {
  fake("xz", kCat);
  const auto xz = run_baselines({path("a"), path("b")}, {path("prime")}, kAlways)[0];
  EXPECT_EQ(xz.files[0].bytes, 100u);
  EXPECT_EQ(xz.files[0].alone, 100u);
  EXPECT_EQ(xz.files[0].primed, 100u);
  EXPECT_EQ(xz.files[0].bits_per_byte(), 8.0);
  EXPECT_EQ(xz.files[1].primed, 30u);
  EXPECT_EQ(xz.each.bytes, 130u);
  EXPECT_EQ(xz.each.primed, 130u);
  EXPECT_EQ(xz.together.bytes, 130u);
  EXPECT_EQ(xz.together.alone, 130u);
  EXPECT_EQ(xz.together.primed, 130u);
  EXPECT_EQ(entries(dir_ / "tmp"), 0) << "temporary files are left";
}

TEST_F(Baselines, OfManyFilesOnlyAllTogetherArePrimed) {
  fake("xz", kCat);
  const std::vector<fs::path> files(kMostPrimedFiles + 1, path("b"));
  const auto xz = run_baselines(files, {path("prime")}, kAlways)[0];
  EXPECT_FALSE(xz.files[0].primed);
  EXPECT_FALSE(xz.each.primed);
  EXPECT_EQ(xz.together.primed, 30u * files.size());
}

TEST_F(Baselines, AFailureIsAnErrorWithTheLastWords) {
  fake("zstd", "echo begun >&2; echo 'no memory' >&2; echo >&2; exit 7");
  const std::string message = message_of<Error>([&] { run_baselines({path("a")}, {}, kAlways); });
  EXPECT_HOLDS(message, "failed with exit code 7: no memory");
  EXPECT_HOLDS(message, "zstd");
  EXPECT_EQ(entries(dir_ / "tmp"), 0);
  fs::remove(dir_ / "bin" / "zstd");
  fake("7z", "for input; do archive=$last; last=$input; done; echo junk >\"$archive\"");
  EXPECT_HOLDS(message_of<Error>([&] { run_baselines({path("a")}, {}, kAlways); }), ".7z");
}

TEST_F(Baselines, AStopLeavesNothingBehind) {
  fake("xz", "exec /bin/sleep 60");
  EXPECT_TRUE(run_baselines({path("a")}, {}, [](const std::string&) { return false; }).empty());
  EXPECT_EQ(entries(dir_ / "tmp"), 0);
}

TEST_F(Baselines, TooMuchTextIsRefused) {
  put(path("large"), "");
  fs::resize_file(path("large"), kMostBaselineBytes);
  EXPECT_HOLDS(
      message_of<UsageError>([&] { run_baselines({path("a")}, {path("large")}, kAlways); }),
      "the limit is 256 MiB");
}

TEST(RealBaselines, PrimingPaysForWhatThePrimingTextHolds) {
  const TempDir dir;
  Rng rng(1);
  std::string text;
  for (int i = 0; i < 20000; ++i) text += static_cast<char>('a' + rng.below(16));
  put(dir / "text", text);
  put(dir / "prime", "before" + text + "after");
  for (const Baseline& each : run_baselines({dir / "text"}, {dir / "prime"}, kAlways)) {
    if (!each.missing.empty()) continue;  // none is needed for the build
    const CompressedSize& size = each.files[0];
    EXPECT_NEAR(size.bits_per_byte(), 4.0, 0.4) << each.name << ": 16 letters at random";
    // PPMd looks back by 16 bytes at most and believes what it has seen once only so far.
    EXPECT_LT(size.primed_bits_per_byte(), each.name == "ppmd" ? 3.5 : 0.5) << each.name;
    EXPECT_EQ(size.alone, each.together.alone) << each.name;
  }
}

}  // namespace
}  // namespace axl
