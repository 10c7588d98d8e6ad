#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "axl/base/format.h"
#include "data_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

TEST(FindCorpusFiles, TakesMatchingFilesSortedAndOnce) {
  const Scratch scratch;
  const std::string b = scratch.put("b.py", "b"), a = scratch.put("sub/deep/a.py", "a");
  const std::string other = scratch.put("notes.txt", "n"), lines = scratch.put("c.jsonl", "{}");
  scratch.put(".hidden.py", "h");
  scratch.put(".git/d.py", "d");
  scratch.put("empty.py", "");
  const std::vector<std::string> expected = {b, lines, a};
  EXPECT_EQ(paths_of(scratch.files()), expected);
  EXPECT_EQ(scratch.files()[0].size, 1u);
  EXPECT_EQ(
      paths_of(Scratch::find({scratch.path(), b, scratch / "sub/../b.py", scratch / "./sub"})),
      expected);
  EXPECT_EQ(paths_of(Scratch::find({other})), std::vector<std::string>{other}) << "named, so taken";
}

TEST(FindCorpusFiles, DoesNotDependOnTheOrderOfPaths) {
  const Scratch scratch;
  scratch.put("x/a.py", "a");
  scratch.put("y/b.py", "b");
  fs::create_symlink(scratch / "x/a.py", scratch / "y/again.py");
  fs::create_hard_link(scratch / "x/a.py", scratch / "y/hard.py");
  const auto one = paths_of(Scratch::find({scratch / "x", scratch / "y"}));
  EXPECT_EQ(one, paths_of(Scratch::find({scratch / "y", scratch / "x"})));
  EXPECT_EQ(one, (std::vector<std::string>{scratch / "x/a.py", scratch / "y/b.py"}));
}

TEST(FindCorpusFiles, DoesNotFollowLinksToDirectories) {
  const Scratch scratch;
  scratch.put("in/a.py", "a");
  scratch.put("outside/b.py", "b");
  fs::create_directory_symlink(scratch.path(), scratch / "in/loop");
  fs::create_directory_symlink(scratch / "outside", scratch / "in/dir.py");
  fs::create_symlink(scratch / "nowhere", scratch / "in/dangling.py");
  EXPECT_EQ(paths_of(Scratch::find({scratch / "in"})),
            std::vector<std::string>{scratch / "in/a.py"});
}

TEST(FindCorpusFiles, RefusesWhatHoldsNothing) {
  const Scratch scratch;
  scratch.put("good.py", "x");
  const std::string text = scratch.put("text/only.txt", "x"), none = scratch.put("none/e.py", "");
  const std::string empty = scratch.put("empty.py", ""), pipe = scratch / "pipe.py";
  fs::create_directories(scratch / "bare");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::pair<std::string, std::string> bad[] = {{scratch / "missing", "no such"},
                                                     {scratch / "bare", "holds no files"},
                                                     {scratch / "text", "*.py, *.jsonl"},
                                                     {scratch / "none", "holds no files"},
                                                     {empty, "empty"},
                                                     {pipe, "neither a file nor a directory"},
                                                     {scratch / "good.py/below", "good.py/below"}};
  for (const auto& [path, reason] : bad) {
    const std::string message = error_of([&, bad = path] {
      Scratch::find({scratch / "good.py", bad});
    });
    EXPECT_HAS(message, path);
    EXPECT_HAS(message, reason);
  }
}

TEST(FindCorpusFiles, NamesWhatItMayNotRead) {
  const Scratch scratch;
  const std::string file = scratch.put("a/secret.py", "x");
  scratch.put("b/closed/x.py", "x");
  fs::permissions(file, fs::perms::none);
  fs::permissions(scratch / "b/closed", fs::perms::none);
  const bool root = geteuid() == 0;
  // Root may read everything, so be nobody for a moment.
  ASSERT_EQ(seteuid(root ? 65534 : geteuid()), 0);
  const std::string in_directory = error_of([&] { Scratch::find({scratch / "a"}); });
  const std::string by_name = error_of([&] { Scratch::find({file}); });
  const std::string closed = error_of([&] { Scratch::find({scratch / "b"}); });
  ASSERT_EQ(seteuid(root ? 0 : geteuid()), 0);
  fs::permissions(scratch / "b/closed", fs::perms(0755));
  EXPECT_HAS(in_directory, file);
  EXPECT_HAS(in_directory, "Permission denied");
  EXPECT_HAS(by_name, file);
  EXPECT_HAS(closed, scratch / "b/closed");
  EXPECT_HAS(closed, "Permission denied");
}

std::vector<CorpusFile> some_files(int count) {
  std::vector<CorpusFile> files;
  for (int i = 0; i < count; ++i) files.push_back({format("dir/{:04}.py", i), 1});
  return files;
}

std::set<std::string> path_set(const std::vector<CorpusFile>& files) {
  const auto paths = paths_of(files);
  return {paths.begin(), paths.end()};
}

TEST(SplitCorpus, PutsEachFileOnExactlyOneSide) {
  for (const int count : {1, 2, 3, 10, 101}) {
    for (const double share : {0.0, 0.001, 0.02, 0.5, 0.999}) {
      const CorpusSplit split = split_corpus(some_files(count), share, 3);
      std::set<std::string> both = path_set(split.train);
      for (const auto& path : paths_of(split.holdout)) {
        EXPECT_TRUE(both.insert(path).second) << path << " is on both sides";
      }
      EXPECT_EQ(both, path_set(some_files(count)));
      EXPECT_FALSE(split.train.empty());
      EXPECT_EQ(split.holdout.empty(), count == 1 || share == 0) << count << ", " << share;
    }
  }
}

TEST(SplitCorpus, RoundsTheShare) {
  EXPECT_EQ(split_corpus(some_files(100), 0.02, 1).holdout.size(), 2u);
  EXPECT_EQ(split_corpus(some_files(100), 0.026, 1).holdout.size(), 3u);
  EXPECT_EQ(split_corpus(some_files(3), 0.99, 1).train.size(), 1u);
}

TEST(SplitCorpus, DependsOnSeedAndPathsAlone) {
  auto files = some_files(200);
  const auto holdout = paths_of(split_corpus(files, 0.1, 5).holdout);
  EXPECT_TRUE(std::is_sorted(holdout.begin(), holdout.end()));
  std::reverse(files.begin(), files.end());
  for (CorpusFile& file : files) file.size = 99;
  EXPECT_EQ(paths_of(split_corpus(files, 0.1, 5).holdout), holdout);
  EXPECT_NE(paths_of(split_corpus(files, 0.1, 6).holdout), holdout);
}

TEST(SplitCorpus, OneMoreFileMovesAtMostOneOther) {
  auto files = some_files(200);
  const auto before = path_set(split_corpus(files, 0.1, 5).holdout);
  for (int i = 0; i < 20; ++i) {
    auto more = files;
    more.push_back({format("new/{}.py", i), 1});
    const auto after = path_set(split_corpus(more, 0.1, 5).holdout);
    std::vector<std::string> left;
    std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                        std::back_inserter(left));
    EXPECT_LE(left.size(), 1u);
  }
}

}  // namespace
}  // namespace axl
