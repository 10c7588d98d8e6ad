#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <thread>
#include <utility>

#include "axl/base/format.h"
#include "data_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// "VmRSS" or "VmHWM" of this process in bytes.
int64_t memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib;
    if (word == key + ":" && status >> kib) return kib << 10;
  }
  throw Error("no " + key + " in /proc/self/status");
}

/// Growth of the peak of resident memory while `body` runs.
template <class Body>
int64_t peak_growth(const Body& body) {
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins anew here
  const int64_t before = memory("VmRSS");
  body();
  return memory("VmHWM") - before;
}

TEST(Corpus, EveryByteValueSurvives) {
  const Scratch scratch;
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  const Corpus corpus({{scratch.put("all.py", all), 256}});
  Stream expected;
  append_document(expected, all);
  EXPECT_EQ(read_all(corpus), expected);
  EXPECT_EQ(corpus.bytes(), 256u);
  EXPECT_EQ(corpus.documents(), 1);
}

TEST(Corpus, AnySliceIsThatOfTheConcatenatedDocuments) {
  const Scratch scratch;
  Rng rng(1);
  Stream expected;
  for (int i = 0; i < 40; ++i) {
    const std::string text = random_bytes(rng, rng.below(3) == 0 ? 1 : rng.below(50) + 1);
    scratch.put(format("{:02}.py", i), text);
    append_document(expected, text);
  }
  scratch.put("empty.py", "");
  const Corpus corpus(scratch.files());
  ASSERT_EQ(corpus.tokens(), expected.size());
  EXPECT_EQ(corpus.documents(), 40);
  for (int trial = 0; trial < 500; ++trial) {
    const uint64_t begin = rng.below(expected.size() + 1);
    const uint64_t count = rng.below(expected.size() - begin + 1);
    const Stream slice(expected.begin() + begin, expected.begin() + begin + count);
    ASSERT_EQ(read(corpus, begin, count), slice) << begin << " + " << count;
  }
}

TEST(Corpus, RefusesToReadBeyondItsEnd) {
  const Scratch scratch;
  const Corpus corpus({{scratch.put("a.py", "abc"), 3}});
  EXPECT_NO_THROW(read(corpus, 5, 0));
  EXPECT_THROW(read(corpus, 0, 6), InternalError);
  EXPECT_THROW(read(corpus, 6, 0), InternalError);
}

TEST(Corpus, EmptyFilesAreNoDocuments) {
  const Scratch scratch;
  const Corpus corpus({{scratch.put("a.py", ""), 0}, {scratch.put("b.py", "x"), 1}});
  EXPECT_EQ(corpus.documents(), 1);
  EXPECT_EQ(corpus.tokens(), 3u);
}

TEST(Corpus, PairsAreScoredOnTargetAndEosOnly) {
  const Scratch scratch;
  scratch.put("pairs.jsonl",
              R"({"source_code": "x=1", "target_code": "x: int = 1"})"
              "\n"
              R"({"target_code": "", "source_code": "", "why": ["other keys", {"are": null}]})"
              "\n");
  const Corpus corpus(scratch.files());
  Stream expected;
  append_pair(expected, "x=1", "x: int = 1");
  append_pair(expected, "", "");
  EXPECT_EQ(read_all(corpus), expected);
  EXPECT_EQ(corpus.documents(), 2);
  EXPECT_EQ(corpus.bytes(), 13u);
}

TEST(Corpus, RecordsOfEveryFormAreDecoded) {
  const Scratch scratch;
  scratch.put("a.jsonl",
              "\xEF\xBB\xBF{\"text\": \"after a byte order mark\"}\r\n"
              "\n"
              "  \t\r\n"
              "{\"content\": \"quote \\\" line\\nnul \\u0000 e \\u00e9 clef \\ud834\\udd1e\"}\n"
              "{\"text\": \"\"}\n"
              "{\"text\": \"text goes first\", \"content\": \"not this\"}\n"
              "  {\"text\": \"no newline at the end of the file\"}");
  scratch.put("b.py", "a plain file\n");
  const Corpus corpus(scratch.files());
  Stream expected;
  append_document(expected, "after a byte order mark");
  append_document(expected,
                  std::string("quote \" line\nnul \0 e \xC3\xA9 clef \xF0\x9D\x84\x9E", 33));
  append_document(expected, "text goes first");
  append_document(expected, "no newline at the end of the file");
  append_document(expected, "a plain file\n");
  EXPECT_EQ(read_all(corpus), expected);
  EXPECT_EQ(corpus.documents(), 5);
}

TEST(Corpus, AnySliceOfRecordsIsThatOfTheConcatenatedDocuments) {
  const Scratch scratch;
  Rng rng(2);
  Stream expected;
  std::string lines;
  for (int i = 0; i < 30; ++i) {
    const std::string a(rng.below(20), 'a'), b(rng.below(20) + 1, 'b');
    if (i % 3 == 0) {
      lines += format("{{\"text\": \"\\n{}\"}}\n", b);
      append_document(expected, "\n" + b);
    } else {
      lines += format("{{\"source_code\": \"{}\", \"target_code\": \"{}\\t\"}}\r\n\n", a, b);
      append_pair(expected, a, b + "\t");
    }
  }
  scratch.put("a.jsonl", lines);
  const Corpus corpus(scratch.files());
  ASSERT_EQ(corpus.tokens(), expected.size());
  for (int trial = 0; trial < 500; ++trial) {
    const uint64_t begin = rng.below(expected.size() + 1);
    const uint64_t count = rng.below(expected.size() - begin + 1);
    const Stream slice(expected.begin() + begin, expected.begin() + begin + count);
    ASSERT_EQ(read(corpus, begin, count), slice) << begin << " + " << count;
  }
}

TEST(Corpus, FingerprintTellsPathsSizesAndRecordsApart) {
  const Scratch scratch;
  const std::string a = scratch.put("a.py", "abc"), b = scratch.put("b.py", "abc");
  const std::string c = scratch.put("c.jsonl", "{\"text\": \"xy\"}\n{\"text\": \"z\"}\n");
  const std::vector<std::vector<CorpusFile>> corpora = {
      {{a, 3}}, {{b, 3}}, {{a, 3}, {b, 3}}, Scratch::find({c})};
  std::set<uint64_t> prints;
  for (const auto& files : corpora) {
    prints.insert(Corpus(files).fingerprint());
    EXPECT_EQ(Corpus(files).fingerprint(), Corpus(files).fingerprint());
  }
  scratch.put("c.jsonl", "{\"text\": \"x\"}\n{\"text\": \"yz\"}\n");  // same size, other records
  prints.insert(Corpus(Scratch::find({c})).fingerprint());
  scratch.put("a.py", "abcd");
  prints.insert(Corpus(Scratch::find({a})).fingerprint());
  EXPECT_EQ(prints.size(), 6u);
}

TEST(Corpus, ProgressNeverFallsAndEndsWithAllBytes) {
  const Scratch scratch;
  scratch.put("a.py", "abc");
  const std::string record = "{\"text\": \"" + std::string(1 << 20, 'x') + "\"}\n";
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += record;
  scratch.put("b.jsonl", lines);
  std::vector<uint64_t> done;
  const uint64_t all = 3 + lines.size();
  const Corpus corpus(scratch.files(), [&](uint64_t bytes, uint64_t total) {
    done.push_back(bytes);
    EXPECT_EQ(total, all);
  });
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_GE(done.size(), 4u) << "no report from within the large file";
  EXPECT_EQ(done.back(), all);
}

TEST(Corpus, ThreadsReadTheSame) {
  const Scratch scratch;
  Rng rng(3);
  for (int i = 0; i < 20; ++i) scratch.put(format("{}.py", i), random_bytes(rng, 100));
  scratch.put("r.jsonl", "{\"text\": \"one\"}\n{\"source_code\": \"a\", \"target_code\": \"b\"}\n");
  const Corpus corpus(scratch.files());
  const Stream expected = read_all(corpus);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[t] += read_all(corpus) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Corpus, NamesTheLineOfABadRecord) {
  const std::pair<std::string, std::string> bad[] = {
      {"{\"text\": \"never closed", "malformed JSON"},
      {"{\"text\": \"a\"} {\"text\": \"b\"}", "malformed JSON"},
      {"text: yaml", "malformed JSON"},
      {"{'text': 'single quotes'}", "malformed JSON"},
      {std::string("\0\0\0\0", 4), "malformed JSON"},
      {"{\"text\": \"not UTF-8 \xFF\"}", "malformed JSON"},
      {"{\"text\": \"half a pair \\ud834\"}", "malformed JSON"},
      {std::string(100000, '['), "malformed JSON"},
      {"[\"text\"]", "array"},
      {"\"text\"", "string"},
      {"null", "null"},
      {"{}", "no \"text\""},
      {"{\"code\": \"other key\"}", "no \"text\""},
      {"{\"text\": 7}", "number"},
      {"{\"text\": null, \"content\": \"x\"}", "null"},
      {"{\"content\": [\"x\"]}", "array"},
      {"{\"source_code\": \"alone\"}", "no \"target_code\""},
      {"{\"target_code\": \"alone\", \"text\": \"x\"}", "no \"source_code\""},
      {"{\"source_code\": \"a\", \"target_code\": true}", "boolean"},
  };
  for (const auto& [line, reason] : bad) {
    const Scratch scratch;
    scratch.put("bad.jsonl", "{\"text\": \"good\"}\n\n" + line + "\n{\"text\": \"good\"}\n");
    const std::string message = error_of([&] { Corpus corpus(scratch.files()); });
    EXPECT_HAS(message, scratch / "bad.jsonl:3: ");
    EXPECT_HAS(message, reason);
    EXPECT_LT(message.size(), 600u) << "a message is for people";
  }
}

TEST(Corpus, NoticesThatAFileHasChanged) {
  const Scratch scratch;
  const std::string plain = scratch.put("a.py", "0123456789");
  const Corpus corpus(Scratch::find({plain}));
  for (const std::string text : {"012345678", "0123456789a", ""}) {
    scratch.put("a.py", text);
    EXPECT_HAS(error_of([&] { read_all(corpus); }), plain + ": the file has changed");
  }
  fs::remove(plain);
  EXPECT_HAS(error_of([&] { read_all(corpus); }), plain);
}

TEST(Corpus, NoticesThatARecordHasChangedWithinTheSameSize) {
  const Scratch scratch;
  const std::string path = scratch.put("a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\\n\"}\n");
  const Corpus corpus(Scratch::find({path}));
  for (const std::string text :
       {"{\"text\": \"ab\"}\n{\"text\": \"cde\"}\n", "{\"text\": \"ab\" }\n{\"text\": \"c\\n\"\n",
        "{\"text\": \"ab\"}\n{\"code\": \"c\\n\"}\n"}) {
    scratch.put("a.jsonl", text);
    EXPECT_HAS(error_of([&] { read_all(corpus); }), path + ": the file has changed");
  }
}

TEST(Corpus, NoticesThatRecordsWereAddedOrCutOff) {
  const Scratch scratch;
  const std::string text = "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n";
  const std::string path = scratch.put("a.jsonl", text);
  const Corpus corpus(Scratch::find({path}));
  for (const std::string& changed : {text + text, text.substr(0, 16), text.substr(0, 5)}) {
    scratch.put("a.jsonl", changed);
    EXPECT_HAS(error_of([&] { read_all(corpus); }), path + ": the file has changed");
  }
}

TEST(Corpus, NoticesThatRecordsChangedBeforeTheIndexPass) {
  const Scratch scratch;
  const std::string path = scratch.put("a.jsonl", "{\"text\": \"ab\"}\n");
  const auto files = Scratch::find({path});
  scratch.put("a.jsonl", "{\"text\": \"abc\"}\n");
  EXPECT_HAS(error_of([&] { Corpus corpus(files); }), path + ": the file has changed");
  fs::remove(path);
  EXPECT_HAS(error_of([&] { Corpus corpus(files); }), path + ": cannot read");
}

#ifdef AXL_SANITIZED
constexpr const char* kWhyNoMemoryTest = "sanitizers keep memory of their own";
#else
constexpr const char* kWhyNoMemoryTest = nullptr;
#endif

TEST(Corpus, TenGigabytesAreSampledInAFewMegabytes) {
  if (kWhyNoMemoryTest) GTEST_SKIP() << kWhyNoMemoryTest;
  const Scratch scratch;
  const std::string path = scratch.put("large.py", "begin");
  constexpr uint64_t kSize = uint64_t{10} << 30;
  fs::resize_file(path, kSize);
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  if (status.st_blocks > 1000) {
    GTEST_SKIP() << "THE FILE SYSTEM OF " << path << " HAS NO SPARSE FILES: MEMORY IS NOT TESTED";
  }
  const int64_t growth = peak_growth([&] {
    const Corpus corpus(scratch.files());
    ASSERT_EQ(corpus.tokens(), kSize + 2);
    const Stream tail = read(corpus, kSize - 1, 3);
    EXPECT_EQ(tail, (Stream{{0, true}, {0, true}, {kEos, true}}));
    const WindowSampler sampler(corpus, 256, 32, 1);
    TokenBatch batch;
    for (int64_t step = 0; step < 200; ++step) {
      sampler.fill(step, batch);
      ASSERT_EQ(batch.ids[100], 0);
    }
  });
  EXPECT_LT(growth, 16 << 20);
}

TEST(Corpus, IndexingRecordsHoldsNoneOfTheirText) {
  if (kWhyNoMemoryTest) GTEST_SKIP() << kWhyNoMemoryTest;
  const Scratch scratch;
  constexpr int kRecords = 1000;
  {
    std::ofstream out(scratch / "large.jsonl");
    const std::string text(64 << 10, 'x');
    for (int i = 0; i < kRecords; ++i) out << "{\"text\": \"" << text << "\"}\n";
  }
  const int64_t growth = peak_growth([&] {
    const Corpus corpus(scratch.files());
    EXPECT_EQ(corpus.documents(), kRecords);
    EXPECT_EQ(corpus.bytes(), uint64_t{kRecords} << 16);
    const WindowSampler sampler(corpus, 256, 8, 1);
    TokenBatch batch;
    for (int64_t step = 0; step < 20; ++step) sampler.fill(step, batch);
  });
  EXPECT_LT(growth, 8 << 20);
}

}  // namespace
}  // namespace axl
