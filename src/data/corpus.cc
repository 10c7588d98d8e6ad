#include "axl/data/corpus.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/base/tokens.h"
#include "axl/formats/jsonl.h"

namespace axl {
namespace {

bool is_jsonl(const CorpusFile& file) { return file.path.extension() == ".jsonl"; }

/// A document's text. Plain documents are a target without a source.
struct Text {
  bool is_pair = false;
  std::string_view source, target;

  uint64_t bytes() const { return source.size() + target.size(); }
  /// BOS target EOS, or BOS source mark target EOS.
  uint64_t tokens() const { return bytes() + 2 + (is_pair ? 1 : 0); }
};

Text text_of(const JsonRecord& record) { return {record.is_pair, record.source, record.target}; }

/// Receives the tokens of documents one after another, drops the first `skip` of them and stores
/// up to `room` more.
struct Output {
  uint64_t skip;
  int64_t room;
  int32_t* tokens;
  bool* scored;

  void put(int token, bool is_scored) {
    if (skip > 0) {
      --skip;
    } else if (room > 0) {
      store(token, is_scored);
    }
  }
  void put(std::string_view text, bool is_scored) {
    const uint64_t dropped = std::min<uint64_t>(skip, text.size());
    skip -= dropped;
    for (const char byte : text.substr(dropped, static_cast<size_t>(room))) {
      store(static_cast<unsigned char>(byte), is_scored);
    }
  }
  void put(const Text& text) {
    put(kBos, false);
    if (text.is_pair) {
      put(text.source, false);
      put(kPairMark, false);
    }
    put(text.target, true);
    put(kEos, true);
  }

 private:
  void store(int token, bool is_scored) {
    *tokens++ = token;
    *scored++ = is_scored;
    --room;
  }
};

[[noreturn]] void fail_changed(const CorpusFile& file) {
  throw Error(format("{}: the file has changed since its {} bytes were indexed; start again",
                     file.path.string(), file.size));
}

MappedFile map_unchanged(const CorpusFile& file) {
  MappedFile mapped(file.path);
  if (mapped.bytes().size() != file.size) fail_changed(file);
  // Windows come in random order: what the system would read ahead (up to megabytes for each
  // window) is wasted. An advice that is not taken changes nothing but speed.
  (void)madvise(const_cast<char*>(mapped.bytes().data()), mapped.bytes().size(), MADV_RANDOM);
  return mapped;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

/// Calls visit(line, offset of its first byte, line number from 1) for each line that is not
/// blank. Reads instead of mapping, so that only one line is ever in memory.
template <class Visit>
void for_each_line(const CorpusFile& file, const Visit& visit) {
  std::ifstream in(file.path, std::ios::binary);
  std::string line;
  uint64_t offset = 0;
  for (uint64_t number = 1; std::getline(in, line); ++number) {
    if (!is_blank(line)) visit(line, offset, number);
    offset += line.size() + (in.eof() ? 0 : 1);
  }
  if (!in.eof()) {
    throw Error(
        format("{}: cannot read this training file: {}", file.path.string(), strerror(errno)));
  }
  if (offset != file.size) fail_changed(file);
}

/// What was a record when it was indexed must still be one.
JsonRecord reread_record(const CorpusFile& file, std::string_view bytes, uint64_t offset,
                         uint32_t line_bytes) {
  try {
    return parse_json_record(bytes.substr(offset, line_bytes), file.path.string());
  } catch (const Error&) {
    fail_changed(file);
  }
}

}  // namespace

Corpus::Corpus(std::vector<CorpusFile> files,
               const std::function<void(uint64_t, uint64_t)>& progress)
    : files_(std::move(files)) {
  uint64_t all = 0, done = 0;
  for (const CorpusFile& file : files_) all += file.size;
  for (uint32_t i = 0; i < files_.size(); ++i) {
    if (is_jsonl(files_[i])) {
      index_records(i, [&](uint64_t offset) {
        if (progress) progress(done + offset, all);
      });
    } else if (files_[i].size > 0) {
      add_document({tokens_, 0, i, false, 0}, files_[i].size, files_[i].size + 2);
    }
    done += files_[i].size;
    if (progress) progress(done, all);
  }
}

void Corpus::add_document(const Document& document, uint64_t bytes, uint64_t tokens) {
  documents_.push_back(document);
  bytes_ += bytes;
  tokens_ += tokens;
}

void Corpus::index_records(uint32_t index, const std::function<void(uint64_t)>& progress) {
  constexpr uint64_t kReportEvery = 16 << 20;
  uint64_t next_report = kReportEvery;
  const CorpusFile& file = files_[index];
  for_each_line(file, [&](const std::string& line, uint64_t offset, uint64_t number) {
    const std::string where = format("{}:{}", file.path.string(), number);
    if (line.size() > std::numeric_limits<uint32_t>::max()) {
      throw Error(format("{}: a record of {} bytes; the limit is 4 GiB", where, line.size()));
    }
    const JsonRecord record = parse_json_record(line, where);
    const Text text = text_of(record);
    if (text.bytes() > 0 || text.is_pair) {
      add_document({tokens_, offset, index, text.is_pair, static_cast<uint32_t>(line.size())},
                   text.bytes(), text.tokens());
    }
    if (offset >= next_report) {
      progress(offset);
      next_report = offset + kReportEvery;
    }
  });
}

uint64_t Corpus::fingerprint() const {
  Hasher hasher;
  for (const CorpusFile& file : files_) {
    hasher.update(format("{}\n{}\n", file.path.string(), file.size));
  }
  for (const Document& each : documents_) {
    hasher.update(&each.begin, sizeof each.begin);
    hasher.update(&each.file_offset, sizeof each.file_offset);
  }
  return hasher.digest();
}

int64_t Corpus::document_at(uint64_t token) const {
  const auto next =
      std::upper_bound(documents_.begin(), documents_.end(), token,
                       [](uint64_t at, const Document& each) { return at < each.begin; });
  return next - documents_.begin() - 1;
}

uint64_t Corpus::document_begin(int64_t document) const {
  AXL_CHECK(document >= 0 && document <= documents());
  return document == documents() ? tokens_ : documents_[document].begin;
}

void Corpus::read(uint64_t begin, int64_t count, int32_t* tokens, bool* scored) const {
  AXL_CHECK(count >= 0 && begin <= tokens_ && static_cast<uint64_t>(count) <= tokens_ - begin);
  if (count == 0) return;
  const auto first = documents_.begin() + document_at(begin);
  Output out{begin - first->begin, count, tokens, scored};
  // Mapped anew for each window. That takes microseconds, and in return resident memory stays that
  // of one window, threads share nothing, and a file that was replaced is noticed.
  std::optional<MappedFile> mapped;
  for (auto document = first; out.room > 0; ++document) {
    const CorpusFile& file = files_[document->file];
    if (!mapped || document->file != (document - 1)->file) mapped.emplace(map_unchanged(file));
    const uint64_t end = document + 1 == documents_.end() ? tokens_ : (document + 1)->begin;
    JsonRecord record;
    Text text{.is_pair = false, .source = {}, .target = mapped->bytes()};
    if (document->line_bytes > 0) {
      record = reread_record(file, mapped->bytes(), document->file_offset, document->line_bytes);
      text = text_of(record);
    }
    if (text.tokens() != end - document->begin) fail_changed(file);
    out.put(text);
  }
}

}  // namespace axl
