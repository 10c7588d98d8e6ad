#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace axl {

/// One file of a corpus.
struct CorpusFile {
  std::filesystem::path path;
  uint64_t size = 0;  ///< bytes when it was indexed
};

/// Finds the files: a file is taken as it is, a directory is searched recursively (symbolic links
/// to directories are not followed, dot-files are skipped) for names with one of `suffixes`. The
/// result is sorted by path and holds each file once, however many paths and links lead to it;
/// empty files of a directory are left out. Throws Error naming the path that is missing,
/// unreadable or holds nothing of use.
std::vector<CorpusFile> find_corpus_files(std::span<const std::string> paths,
                                          std::span<const std::string> suffixes);

struct CorpusSplit {
  std::vector<CorpusFile> train, holdout;
};
/// Puts `share` of the files (by count, rounded, at least one when share > 0 and there are two
/// files) aside, chosen by a hash of seed and path alone. With a single file nothing is held out.
CorpusSplit split_corpus(std::vector<CorpusFile> files, double share, uint64_t seed);

/// What a training step reads: `ids` are inputs, `targets` the next token or -1 where not scored.
/// Both [sequences, length], row-major. `odd` tells whether the input is of a document with an odd
/// number.
struct TokenBatch {
  int64_t sequences = 0, length = 0;
  std::vector<int32_t> ids, targets;
  std::vector<uint8_t> odd;
};

/// Documents (files, or records of .jsonl files) as one stream of tokens BOS bytes EOS BOS bytes
/// EOS …, read from memory-mapped files when a window needs them, so that memory does not grow with
/// the bytes of the corpus but with its number of documents.
class Corpus {
 public:
  /// Reads .jsonl files once to find records: {"text"|"content"} a plain document, {"source_code",
  /// "target_code"} is BOS source 0xFF target EOS scored on target and EOS only. Empty files, empty
  /// texts and blank lines are skipped. `progress(done_bytes, all_bytes)` may be null. Throws Error
  /// with file and line.
  Corpus(std::vector<CorpusFile> files,
         const std::function<void(uint64_t, uint64_t)>& progress = nullptr);

  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  uint64_t bytes() const { return bytes_; }    ///< of text, marks not counted
  uint64_t tokens() const { return tokens_; }  ///< of the stream
  uint64_t fingerprint() const;                ///< of paths, sizes and records

  /// Tokens [begin, begin + count) of the stream; scored[i] tells whether a loss may be taken on
  /// predicting tokens[i]: never for BOS. Safe to call from several threads. Throws Error when a
  /// file has changed since it was indexed.
  void read(uint64_t begin, int64_t count, int32_t* tokens, bool* scored) const;
  /// Number of the document that a token belongs to, counted from 0.
  int64_t document_at(uint64_t token) const;
  /// Whether a document is {"source_code", "target_code"}.
  bool is_pair(int64_t document) const { return documents_.at(document).is_pair; }
  /// Where a document begins in the stream; tokens() for the number of documents.
  uint64_t document_begin(int64_t document) const;

 private:
  struct Document {
    uint64_t begin;        ///< first token in the stream (its BOS)
    uint64_t file_offset;  ///< of the JSON record's line; 0 for a whole file
    uint32_t file : 31;
    uint32_t is_pair : 1;
    uint32_t line_bytes;  ///< of the JSON record; 0 for a whole file
  };
  void add_document(const Document& document, uint64_t bytes, uint64_t tokens);
  void index_records(uint32_t file, const std::function<void(uint64_t)>& progress);

  std::vector<CorpusFile> files_;
  std::vector<Document> documents_;
  uint64_t bytes_ = 0, tokens_ = 0;
};

/// Tokens of a document that a window must hold for its text to be cut into prefix, middle and
/// suffix: with fewer, marks would be much of it.
inline constexpr int64_t kShortestFill = 16;

/// Cuts a corpus into windows of length + 1 tokens and serves them in an order that depends on the
/// seed alone. Each epoch begins at a random phase, so that windows differ between epochs, and
/// visits every window once in a random order; any step can be asked for at any time, so there is
/// no position to save.
///
/// With probability fim_rate what a window holds of a document is put into fill-in-the-middle form
/// (src/data/fill_in_middle.h), which depends on seed and window alone. Contexts are short, so it
/// is done within windows: of a whole document so treated, hardly a window would see two parts.
/// Pairs and short pieces stay as they are.
class WindowSampler {
 public:
  /// Throws Error when the corpus has fewer than length + 1 tokens.
  WindowSampler(const Corpus& corpus, int64_t length, int64_t batch, uint64_t seed,
                double fim_rate = 0);
  /// The batch of step `step`, counted from 0.
  void fill(int64_t step, TokenBatch& batch) const;
  int64_t windows_per_epoch() const { return windows_; }

 private:
  /// Where in the stream the window begins that is served as number `index`, counted from 0.
  uint64_t window_begin(int64_t index) const;
  /// Puts some of the window's pieces into fill-in-the-middle form.
  void fill_gaps(int64_t index, int64_t first_document, std::span<int32_t> tokens,
                 std::span<bool> scored) const;

  const Corpus& corpus_;
  int64_t length_, batch_;
  uint64_t seed_;
  double fim_rate_;
  int64_t windows_;
};

}  // namespace axl
