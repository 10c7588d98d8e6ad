#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/data/corpus.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// A file with what tells whether another path leads to the same one.
struct FoundFile {
  CorpusFile file;
  std::pair<dev_t, ino_t> identity;
};

std::string list_of(std::span<const std::string> suffixes) {
  std::string list;
  for (const std::string& suffix : suffixes) list += (list.empty() ? "*" : ", *") + suffix;
  return list;
}

bool has_suffix(const std::string& name, std::span<const std::string> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const std::string& suffix) { return name.ends_with(suffix); });
}

FoundFile found_file(const fs::path& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 ||
      ::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) {
    throw Error(format("{}: cannot read this file: {}", path.string(), strerror(errno)));
  }
  return {{path.lexically_normal(), static_cast<uint64_t>(status.st_size)},
          {status.st_dev, status.st_ino}};
}

void search_directory(const fs::path& root, std::span<const std::string> suffixes,
                      std::vector<FoundFile>& found) {
  const size_t before = found.size();
  std::error_code error;
  fs::recursive_directory_iterator it(root, error);
  fs::path at = root;
  while (!error && it != fs::end(it)) {
    at = it->path();
    const std::string name = at.filename().string();
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (has_suffix(name, suffixes) && fs::is_regular_file(fs::status(at))) {
      found.push_back(found_file(at));
      if (found.back().file.size == 0) found.pop_back();
    }
    it.increment(error);  // enters `at` when it is a directory
  }
  if (error) {
    throw Error(format("{}: cannot search this directory: {}", at.string(), error.message()));
  }
  if (found.size() == before) {
    throw Error(format("{}: this directory holds no files to read (looked for non-empty {})",
                       root.string(), list_of(suffixes)));
  }
}

void search(const fs::path& path, std::span<const std::string> suffixes,
            std::vector<FoundFile>& found) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    search_directory(path, suffixes, found);
  } else if (fs::is_regular_file(status)) {
    found.push_back(found_file(path));
    if (found.back().file.size == 0) {
      throw Error(format("{}: this file is empty", path.string()));
    }
  } else if (!fs::exists(status)) {
    throw Error(format("{}: no such file or directory", path.string()));
  } else if (error) {
    throw Error(format("{}: cannot examine this path: {}", path.string(), error.message()));
  } else {
    throw Error(format("{}: neither a file nor a directory", path.string()));
  }
}

}  // namespace

std::vector<CorpusFile> find_corpus_files(std::span<const std::string> paths,
                                          std::span<const std::string> suffixes) {
  std::vector<FoundFile> found;
  for (const std::string& path : paths) search(path, suffixes, found);
  // Sorted first, so that which of two paths to one file is kept does not depend on their order.
  std::sort(found.begin(), found.end(), [](const FoundFile& a, const FoundFile& b) {
    return a.file.path.native() < b.file.path.native();
  });
  std::vector<CorpusFile> files;
  std::set<std::pair<dev_t, ino_t>> seen;
  for (FoundFile& each : found) {
    if (seen.insert(each.identity).second) files.push_back(std::move(each.file));
  }
  return files;
}

CorpusSplit split_corpus(std::vector<CorpusFile> files, double share, uint64_t seed) {
  CorpusSplit split;
  if (files.size() < 2 || share <= 0) {
    split.train = std::move(files);
    return split;
  }
  const auto rank = [&](const CorpusFile& file) {
    return std::make_tuple(hash64(file.path.native(), seed), file.path.native());
  };
  const auto by_path = [](const CorpusFile& a, const CorpusFile& b) {
    return a.path.native() < b.path.native();
  };
  std::sort(files.begin(), files.end(),
            [&](const CorpusFile& a, const CorpusFile& b) { return rank(a) < rank(b); });
  const auto wanted = std::llround(share * static_cast<double>(files.size()));
  const auto count = std::clamp<int64_t>(wanted, 1, static_cast<int64_t>(files.size()) - 1);
  split.holdout.assign(files.begin(), files.begin() + count);
  split.train.assign(files.begin() + count, files.end());
  std::sort(split.holdout.begin(), split.holdout.end(), by_path);
  std::sort(split.train.begin(), split.train.end(), by_path);
  return split;
}

}  // namespace axl
