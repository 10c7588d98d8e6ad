// Mapped, atomic and temporary files, directories and links.
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "environment.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

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

}  // namespace
}  // namespace axl
