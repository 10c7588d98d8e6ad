#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "axl/base/error.h"
#include "axl/base/fields.h"
#include "axl/base/file.h"
#include "axl/base/hash.h"
#include "axl/base/rng.h"
#include "axl/base/text.h"
#include "environment.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

TEST(Check, ThrowsInternalErrorNamingTheCondition) {
  EXPECT_NO_THROW(AXL_CHECK(1 + 1 == 2));
  const auto message = message_of<InternalError>([] { AXL_CHECK(1 + 1 == 3); });
  EXPECT_HOLDS(message, "1 + 1 == 3");
  EXPECT_HOLDS(message, "base_test.cc");
}

// ---- Hash ---------------------------------------------------------------------------------------

TEST(Hash, HasTheValuesOfXxh3) {
  EXPECT_EQ(hash64(""), 0x2D06800538D394C2u);
  EXPECT_EQ(hash64("abc"), 0x78AF5F94892F3950u);
  EXPECT_NE(hash64("abc", 1), hash64("abc"));
}

TEST(Hash, StreamingInAnyPiecesEqualsOneCall) {
  std::string text(5000, '\0');
  std::iota(text.begin(), text.end(), '\0');
  for (const size_t piece : {1, 7, 64, 1000, 5000}) {
    Hasher hasher;
    hasher.update(std::string_view());
    for (size_t i = 0; i < text.size(); i += piece) hasher.update(text.substr(i, piece));
    EXPECT_EQ(hasher.digest(), hash64(text)) << piece;
    EXPECT_EQ(hasher.digest(), hash64(text)) << "digest() must not change the state";
  }
}

// ---- Random numbers -----------------------------------------------------------------------------

TEST(Rng, Mix64HasTheValuesOfSplitMix64) {
  EXPECT_EQ(mix64(0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(mix64(1234567), 6457827717110365317u);
}

// From an implementation in Python that also gives the published outputs for state 1, 2, 3, 4.
TEST(Rng, HasTheValuesOfXoshiro256PlusPlus) {
  Rng a(0), b(42), c(42, 7);
  for (const uint64_t want : {0x3ed1653f0682083au, 0x852cecd8e7418ff7u, 0x8deb058ebaf6ffc3u}) {
    EXPECT_EQ(a.next(), want);
  }
  for (const uint64_t want : {0xde5a8312db6dcfc3u, 0xa66dd5b98df79e6bu, 0xc134b62569114b8au}) {
    EXPECT_EQ(b.next(), want);
  }
  for (const uint64_t want : {0x09ea87839ff44b3au, 0xcc79c7e746c8cf71u, 0xf6da2f117435fe97u}) {
    EXPECT_EQ(c.next(), want);
  }
}

TEST(Rng, UniformIsInRangeWithMeanAHalf) {
  Rng rng(1);
  double sum = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
}

TEST(Rng, BelowIsUniformAndReachesEveryValue) {
  Rng rng(2);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(rng.below(7));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(rng.below(1), 0u);
  // 2^64 is 4/3 of this n: without rejection every third result would come twice as often.
  const uint64_t n = uint64_t{3} << 62;
  int thirds = 0;
  for (int i = 0; i < 30000; ++i) thirds += rng.below(n) % 3 == 0;
  EXPECT_NEAR(thirds, 10000, 400);
  EXPECT_THROW(rng.below(0), InternalError);
}

TEST(Rng, NormalHasMomentsOfTheStandardNormal) {
  Rng rng(3);
  double sum = 0, squares = 0, fourths = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    fourths += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1, 0.02);
  EXPECT_NEAR(fourths / kDraws, 3, 0.15);
}

TEST(Permutation, IsABijection) {
  for (const uint64_t n : {1, 2, 3, 4, 5, 15, 16, 17, 255, 1000, 4097}) {
    std::set<uint64_t> seen;
    const Permutation permutation(n, 9);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permutation(i);
      ASSERT_LT(image, n);
      seen.insert(image);
    }
    EXPECT_EQ(seen.size(), n);
  }
}

TEST(Permutation, DependsOnTheSeedAndLeavesFewInPlace) {
  constexpr uint64_t kN = 10000;
  const Permutation a(kN, 1), b(kN, 2);
  int fixed = 0, same = 0;
  for (uint64_t i = 0; i < kN; ++i) {
    fixed += a(i) == i;
    same += a(i) == b(i);
  }
  EXPECT_LT(fixed, 10);  // one expected
  EXPECT_LT(same, 10);
}

TEST(Permutation, WorksOnTheLargestDomainAndRefusesIndicesOutside) {
  const uint64_t n = std::numeric_limits<uint64_t>::max();
  EXPECT_LT(Permutation(n, 5)(n - 1), n);
  EXPECT_THROW(Permutation(3, 5)(3), InternalError);
  EXPECT_THROW(Permutation(0, 5)(0), InternalError);
}

// ---- Text ---------------------------------------------------------------------------------------

TEST(Text, NearestForgivesTypingErrors) {
  const std::vector<std::string> names = {"temperature", "top-k", "top-p", "seed", "max-time"};
  EXPECT_EQ(nearest("temprature", names), "temperature");
  EXPECT_EQ(nearest("sede", names), "seed");
  EXPECT_EQ(nearest("maxtime", names), "max-time");
  EXPECT_EQ(nearest("top-k", names), "top-k");
  EXPECT_EQ(did_you_mean("seeed", names), "; did you mean 'seed'?");
}

TEST(Text, NearestDoesNotGuessWildly) {
  const std::vector<std::string> names = {"lr", "seed", "a"};
  EXPECT_EQ(nearest("optimizer", names), "");
  EXPECT_EQ(nearest("b", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(1 << 20, 'x'), names), "");
  EXPECT_EQ(did_you_mean("optimizer", names), "");
  EXPECT_EQ(nearest("seed", {}), "");
}

TEST(Text, HumanBytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(130.0 * (1 << 30)), "130 GiB");
}

TEST(Text, HumanCount) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(600000), "600K");
  EXPECT_EQ(human_count(12834560), "12.8M");
  EXPECT_EQ(human_count(999999), "1.0M");
  EXPECT_EQ(human_count(318e6), "318M");
  EXPECT_EQ(human_count(2e15), "2000T");
}

TEST(Text, HumanSeconds) {
  EXPECT_EQ(human_seconds(0.0123), "12ms");
  EXPECT_EQ(human_seconds(5.25), "5.2s");
  EXPECT_EQ(human_seconds(59.99), "1m00s");
  EXPECT_EQ(human_seconds(134.2), "2m14s");
  EXPECT_EQ(human_seconds(3599.7), "1h00m");
  EXPECT_EQ(human_seconds(100 * 3600 + 125), "100h02m");
  EXPECT_EQ(human_seconds(-3), "-3.0s");
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::infinity()), "infs");
}

TEST(Text, ParseDurationReadsUnits) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("3m"), 180);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("1h1s"), 3601);
  EXPECT_EQ(parse_duration("1h2m3s"), 3723);
  EXPECT_EQ(parse_duration("0.5h"), 1800);
  EXPECT_EQ(parse_duration("0"), 0);
}

TEST(Text, ParseDurationRefusesAnythingElse) {
  for (const char* text : {"", "m", "3 m", " 3m", "3m ", "-3m", "+3m", "3x", "30m1h", "1m1m",
                           "1h30", "3ms", "inf", "nan", "1e3", "0x10", ".5m", "3mm", "1,5h"}) {
    EXPECT_THROW(parse_duration(text), UsageError) << text;
  }
  EXPECT_THROW(parse_duration(std::string(400, '9')), UsageError);
}

// ---- Files --------------------------------------------------------------------------------------

TEST(MappedFile, SeesTheBytesAndSurvivesAMove) {
  const TempDir dir;
  put(dir / "x", std::string("a\0b", 3));
  MappedFile first(dir / "x");
  EXPECT_EQ(first.bytes(), std::string_view("a\0b", 3));
  const char* place = first.bytes().data();
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), place);
  EXPECT_TRUE(first.bytes().empty());
  put(dir / "y", "other");
  MappedFile third(dir / "y");
  third = std::move(second);
  EXPECT_EQ(third.bytes().data(), place);
}

TEST(MappedFile, AnEmptyFileIsAnEmptyView) {
  const TempDir dir;
  put(dir / "empty", "");
  EXPECT_EQ(MappedFile(dir / "empty").bytes().size(), 0u);
}

TEST(MappedFile, SaysWhyAPathCannotBeRead) {
  const TempDir dir;
  const auto opening = [](const fs::path& path) {
    return message_of<Error>([&] { MappedFile file(path); });
  };
  EXPECT_HOLDS(opening(dir / "missing"), "missing: cannot open: No such file");
  EXPECT_HOLDS(opening(dir.path()), "is a directory");
  EXPECT_HOLDS(opening("/dev/null"), "not a regular file");
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_HOLDS(opening(dir / "fifo"), "not a regular file");  // and does not wait for a writer
}

TEST(ReadText, ReadsFilesPipesAndProc) {
  const TempDir dir;
  const std::string text(200001, 'x');
  put(dir / "x", text);
  EXPECT_EQ(read_text(dir / "x"), text);
  EXPECT_HOLDS(read_text("/proc/self/status"), "Name:");  // claims to have 0 bytes
  EXPECT_EQ(read_text("/dev/null"), "");
}

TEST(ReadText, SaysWhyAPathCannotBeRead) {
  const TempDir dir;
  EXPECT_HOLDS(message_of<Error>([&] { read_text(dir.path()); }), "Is a directory");
  EXPECT_HOLDS(message_of<Error>([&] { read_text(dir / "missing"); }), "No such file");
}

TEST(TemporaryDirectory, IsRemovedWithAllItHolds) {
  const TempDir dir;
  const Environment tmp("TMPDIR", dir.path().string());
  {
    const TemporaryDirectory temporary;
    put(temporary.path() / "x", "x");
    EXPECT_EQ(entries(dir.path()), 1);
  }
  EXPECT_EQ(entries(dir.path()), 0);
}

TEST(AtomicFile, WritesSmallAndLargePiecesInOrder) {
  const TempDir dir;
  std::string want;
  AtomicFile file(dir / "x");
  for (const size_t size : {3u, 1u << 20, 5u, (1u << 20) - 1, 3u << 20, 0u, 17u}) {
    const std::string piece(size, static_cast<char>('a' + want.size() % 26));
    file.write(piece);
    want += piece;
  }
  file.commit();
  EXPECT_TRUE(get(dir / "x") == want);
  EXPECT_EQ(entries(dir.path()), 1) << "the temporary is gone";
}

TEST(AtomicFile, WriteAtChangesBytesAlreadyWritten) {
  const TempDir dir;
  AtomicFile file(dir / "x");
  file.write("head 0000 tail");
  file.write_at(5, "1234");
  file.write(" more");
  file.commit();
  EXPECT_EQ(get(dir / "x"), "head 1234 tail more");
}

TEST(AtomicFile, TheOldFileStaysUntilCommit) {
  const TempDir dir;
  put(dir / "x", "old");
  {
    AtomicFile file(dir / "x");
    file.write(std::string(3 << 20, 'n'));
    EXPECT_EQ(get(dir / "x"), "old");
  }
  EXPECT_EQ(get(dir / "x"), "old") << "without commit nothing changes";
  EXPECT_EQ(entries(dir.path()), 1) << "and no temporary is left";
  write_text(dir / "x", "new");
  EXPECT_EQ(get(dir / "x"), "new");
}

TEST(AtomicFile, AReaderOfTheOldFileKeepsIt) {
  const TempDir dir;
  put(dir / "x", "old");
  const MappedFile mapped(dir / "x");
  write_text(dir / "x", "new text");
  EXPECT_EQ(mapped.bytes(), "old");
}

TEST(AtomicFile, RefusesDevicesAndDirectories) {
  const TempDir dir;
  EXPECT_HOLDS(message_of<Error>([] { AtomicFile file("/dev/full"); }), "not a regular file");
  EXPECT_HOLDS(message_of<Error>([&] { AtomicFile file(dir.path()); }), "not a regular file");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, SaysWhyItCannotCreate) {
  const TempDir dir;
  const auto message = message_of<Error>([&] { AtomicFile file(dir / "no/such/x"); });
  EXPECT_HOLDS(message, "no/such/x: cannot create: No such file");
}

TEST(AtomicFile, FollowsASymbolicLink) {
  const TempDir dir;
  put(dir / "real", "old");
  fs::create_symlink("real", dir / "link");
  write_text(dir / "link", "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(get(dir / "real"), "new");
}

/// Files of this process can have at most `bytes` while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit = old_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  sighandler_t old_handler_;
  rlimit old_;
};

TEST(AtomicFile, AFailedWriteLeavesTheOldFileAndSaysSo) {
  const TempDir dir;
  put(dir / "x", "old");
  std::string message;
  {
    const FileSizeLimit limit(100000);  // the write that crosses it is short, the next one fails
    message = message_of<Error>([&] { write_text(dir / "x", std::string(3 << 20, 'n')); });
  }
  EXPECT_HOLDS(message, (dir / "x").string() + ": cannot write: File too large");
  EXPECT_HOLDS(message, "the old file is untouched");
  EXPECT_EQ(get(dir / "x"), "old");
  EXPECT_EQ(entries(dir.path()), 1) << "no temporary is left";
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileAndSaysSo) {
  const TempDir dir;
  if (mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "NOT TESTED: a full disk needs the right to mount a tmpfs (run as root)";
  }
  put(dir / "x", "old");
  const auto message = message_of<Error>([&] { write_text(dir / "x", std::string(3 << 20, 'n')); });
  const std::string kept = get(dir / "x");
  const long files = entries(dir.path());
  umount(dir.path().c_str());
  EXPECT_HOLDS(message, (dir / "x").string() + ": cannot write: No space left on device");
  EXPECT_HOLDS(message, "the old file is untouched. Free some space");
  EXPECT_EQ(kept, "old");
  EXPECT_EQ(files, 1) << "no temporary is left";
}

TEST(Directory, IsMadeWithParentsAndProvenWritable) {
  const TempDir dir;
  make_writable_directory(dir / "a/b/c");
  make_writable_directory(dir / "a/b/c");
  EXPECT_EQ(entries(dir / "a/b/c"), 0) << "the probe is gone";
  put(dir / "file", "");
  EXPECT_THROW(make_writable_directory(dir / "file"), Error);
  EXPECT_THROW(make_writable_directory(dir / "file/below"), Error);
  EXPECT_HOLDS(message_of<Error>([] { make_writable_directory("/proc/self"); }), "/proc/self");
}

TEST(Symlink, IsReplacedAtomically) {
  const TempDir dir;
  replace_symlink("one", dir / "latest");
  EXPECT_EQ(fs::read_symlink(dir / "latest"), "one");
  replace_symlink("two", dir / "latest");
  EXPECT_EQ(fs::read_symlink(dir / "latest"), "two");
  EXPECT_EQ(entries(dir.path()), 1);
}

TEST(Symlink, NeverReplacesADirectory) {
  const TempDir dir;
  fs::create_directories(dir / "latest/inside");
  EXPECT_THROW(replace_symlink("one", dir / "latest"), Error);
  EXPECT_TRUE(fs::is_directory(dir / "latest/inside"));
  EXPECT_EQ(entries(dir.path()), 1) << "no temporary is left";
}

// ---- Fields -------------------------------------------------------------------------------------

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
