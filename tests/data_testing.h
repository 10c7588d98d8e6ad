#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/rng.h"
#include "axl/base/tokens.h"
#include "axl/data/corpus.h"

/// What the tests of the data layer share.
namespace axl {

using Suffixes = std::vector<std::string>;

inline const Suffixes kSuffixes = {".py", ".jsonl"};

/// A directory that is removed with everything in it.
class Scratch {
 public:
  Scratch() {
    std::string name = testing::TempDir() + "axl_data_XXXXXX";
    path_ = mkdtemp(name.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ~Scratch() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string path() const { return path_; }

  /// Writes a file, and the directories it needs; returns its path.
  std::string put(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  std::vector<CorpusFile> files() const { return find({path()}); }

  static std::vector<CorpusFile> find(const std::vector<std::string>& paths) {
    return find_corpus_files(paths, kSuffixes);
  }

 private:
  std::filesystem::path path_;
};

struct Token {
  int id;
  bool scored;
  bool operator==(const Token&) const = default;
};
using Stream = std::vector<Token>;

inline std::ostream& operator<<(std::ostream& out, const Token& token) {
  return out << token.id << (token.scored ? "" : "(unscored)");
}

inline Stream read(const Corpus& corpus, uint64_t begin, int64_t count) {
  std::vector<int32_t> ids(count);
  const auto scored = std::make_unique<bool[]>(count);
  corpus.read(begin, count, ids.data(), scored.get());
  Stream stream;
  for (int64_t i = 0; i < count; ++i) stream.push_back({ids[i], scored[i]});
  return stream;
}
inline Stream read_all(const Corpus& corpus) { return read(corpus, 0, corpus.tokens()); }

inline void append(Stream& stream, std::string_view text, bool scored) {
  for (const char byte : text) stream.push_back({static_cast<unsigned char>(byte), scored});
}
inline void append_document(Stream& stream, std::string_view text) {
  stream.push_back({kBos, false});
  append(stream, text, true);
  stream.push_back({kEos, true});
}
inline void append_pair(Stream& stream, std::string_view source, std::string_view target) {
  stream.push_back({kBos, false});
  append(stream, source, false);
  stream.push_back({kPairMark, false});
  append(stream, target, true);
  stream.push_back({kEos, true});
}

inline std::string random_bytes(Rng& rng, size_t count) {
  std::string text(count, '\0');
  for (char& byte : text) byte = static_cast<char>(rng.below(256));
  return text;
}

/// Runs `body`, which must throw Error, and returns the message.
template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "no '" << (part) << "' in: " << (text)

inline std::vector<std::string> paths_of(const std::vector<CorpusFile>& files) {
  std::vector<std::string> paths;
  for (const CorpusFile& file : files) paths.push_back(file.path);
  return paths;
}

}  // namespace axl
