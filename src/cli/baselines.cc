#include "cli/baselines.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <span>
#include <sstream>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/process.h"
#include "axl/base/text.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// A compressor that reads a file and writes to stdout, or to an archive.
struct Compressor {
  const char* name;
  Words programs;  ///< names of the program, the best first
  const char* package;
  /// Arguments after the program, for an input of at most `bytes` bytes.
  Words (*options)(uint64_t bytes);
  bool makes_archive;  ///< a .7z that is named before the input; else stdout
};

uint64_t mebibytes(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

// Without container and checksum: what the data alone costs.
Words xz_options(uint64_t bytes) {
  return {"--format=raw", format("--lzma2=preset=9e,dict={}MiB", mebibytes(bytes)), "-T1", "-c"};
}

// The window holds all of the input, so that its end still sees its beginning.
Words zstd_options(uint64_t bytes) {
  const int window_log = std::max<int>(20, std::bit_width(bytes));
  return {"-q", "--ultra", "-22", format("--long={}", window_log), "--no-check", "-c"};
}

// Order 16 was the best of 8, 12, 16 and 32, primed with 81 MB of Python: 1.293, 1.144, 1.095 and
// 1.311 bits per byte of a held-out file. PPMd takes of its memory what it needs, and forgets
// everything when that is used up.
Words ppmd_options(uint64_t) { return {"a", "-bd", "-t7z", "-mhc=off", "-m0=PPMd:o=16:mem=2g"}; }

const Compressor kCompressors[] = {
    {"xz", {"xz"}, "xz-utils", xz_options, false},
    {"zstd", {"zstd"}, "zstd", zstd_options, false},
    {"ppmd", {"7z", "7zz", "7za"}, "p7zip-full", ppmd_options, true},
};

fs::path program_of(const Compressor& compressor) {
  for (const std::string& name : compressor.programs) {
    const fs::path program = find_program(name);
    if (!program.empty()) return program;
  }
  return {};
}

/// Bytes of compressed data in a .7z with a plain header: its field NextHeaderOffset (7zFormat.txt
/// of the LZMA SDK). The rest of the archive is names and dates.
uint64_t archive_payload(const fs::path& archive) {
  const MappedFile file(archive);
  constexpr std::string_view kMagic("7z\xBC\xAF\x27\x1C", 6);
  uint64_t payload = 0;
  if (!file.bytes().starts_with(kMagic) || file.bytes().size() < 32)
    throw Error(format("{}: 7-Zip has not written a .7z file", archive.string()));
  std::memcpy(&payload, file.bytes().data() + 12, sizeof payload);  // little-endian, as x86 is
  return payload;
}

uint64_t size_of(std::span<const fs::path> files) {
  uint64_t bytes = 0;
  for (const fs::path& file : files) bytes += fs::file_size(file);
  return bytes;
}

/// The last that is not blank: usually the reason of a failure.
std::string last_line(const std::string& text) {
  std::istringstream lines(text);
  std::string line, last;
  while (std::getline(lines, line))
    if (line.find_first_not_of(" \t\r") != line.npos) last = line;
  return last;
}

/// Thrown when `on_wait` says to stop.
struct Stopped {};

/// Compresses joined files by every compressor that is installed.
class Bench {
 public:
  using OnWait = std::function<bool(const std::string& what)>;
  using OnSize = std::function<void(size_t compressor, uint64_t bytes)>;

  Bench(uint64_t most_bytes, const OnWait& on_wait) : most_bytes_(most_bytes), on_wait_(on_wait) {}

  /// Tells `on_size` what each compressor makes of `prime` and then `files` as one text.
  void measure(const std::string& what, std::span<const fs::path> prime,
               std::span<const fs::path> files, const OnSize& on_size) {
    join(prime, files);
    for (size_t i = 0; i < std::size(kCompressors); ++i) {
      const fs::path program = program_of(kCompressors[i]);
      if (!program.empty()) on_size(i, compress(kCompressors[i], program, what));
    }
  }

 private:
  void join(std::span<const fs::path> first, std::span<const fs::path> second) {
    std::ofstream out(input_, std::ios::binary | std::ios::trunc);
    for (std::span<const fs::path> files : {first, second})
      for (const fs::path& file : files) {
        const MappedFile mapped(file);
        out.write(mapped.bytes().data(), static_cast<std::streamsize>(mapped.bytes().size()));
      }
    out.close();
    if (!out)
      throw Error(format("{}: cannot write; free some space or set $TMPDIR", input_.string()));
  }

  uint64_t compress(const Compressor& compressor, const fs::path& program,
                    const std::string& what) {
    std::vector<std::string> words = {program.string()};
    for (std::string& option : compressor.options(most_bytes_)) words.push_back(std::move(option));
    if (compressor.makes_archive) words.push_back(archive_.string());
    words.push_back(input_.string());
    fs::remove(archive_);  // 7-Zip would add to it
    const ProcessResult result =
        run_process(words, {}, [&] { return !on_wait_(format("{}: {}", compressor.name, what)); });
    if (result.stopped) throw Stopped();
    if (result.exit_code != 0)
      throw Error(format("{} failed with exit code {}: {}", fmt::join(words, " "), result.exit_code,
                         last_line(result.errors)));
    return compressor.makes_archive ? archive_payload(archive_) : result.output.size();
  }

  uint64_t most_bytes_;
  const OnWait& on_wait_;
  TemporaryDirectory directory_;
  fs::path input_ = directory_.path() / "input", archive_ = directory_.path() / "a.7z";
};

std::vector<Baseline> described_baselines(uint64_t most_bytes, size_t files) {
  std::vector<Baseline> baselines;
  for (const Compressor& compressor : kCompressors) {
    Baseline& baseline = baselines.emplace_back();
    baseline.name = compressor.name;
    const fs::path program = program_of(compressor);
    if (program.empty()) {
      baseline.missing = format("{} is not installed: apt install {}", compressor.programs.front(),
                                compressor.package);
      continue;
    }
    baseline.command = format("{} {}", program.filename().string(),
                              fmt::join(compressor.options(most_bytes), " "));
    baseline.files.resize(files);
  }
  return baselines;
}

void measure_alone(Bench& bench, const std::vector<fs::path>& files,
                   std::vector<Baseline>& baselines) {
  for (size_t i = 0; i < files.size(); ++i) {
    const std::span<const fs::path> file(&files[i], 1);
    bench.measure(files[i].string(), {}, file, [&](size_t c, uint64_t bytes) {
      baselines[c].files[i] = {size_of(file), bytes};
    });
  }
  bench.measure("all files", {}, files, [&](size_t c, uint64_t bytes) {
    baselines[c].together = {size_of(files), bytes};
  });
}

void measure_primed(Bench& bench, const std::vector<fs::path>& files,
                    const std::vector<fs::path>& prime, std::vector<Baseline>& baselines) {
  std::vector<uint64_t> prime_bytes(baselines.size());
  bench.measure("the priming text", prime, {},
                [&](size_t c, uint64_t bytes) { prime_bytes[c] = bytes; });
  bench.measure("the priming text and all files", prime, files, [&](size_t c, uint64_t bytes) {
    baselines[c].together.primed = bytes - prime_bytes[c];
  });
  if (files.size() > kMostPrimedFiles) return;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto store = [&](size_t c, uint64_t bytes) {
      baselines[c].files[i].primed = bytes - prime_bytes[c];
    };
    bench.measure(format("the priming text and {}", files[i].string()), prime, {&files[i], 1},
                  store);
  }
}

/// Primed only if all of them are.
CompressedSize sum_of(const std::vector<CompressedSize>& sizes) {
  CompressedSize sum{.primed = 0};
  for (const CompressedSize& size : sizes) {
    sum.bytes += size.bytes;
    sum.alone += size.alone;
    if (sum.primed)
      sum.primed = size.primed ? std::optional(*sum.primed + *size.primed) : std::nullopt;
  }
  return sum;
}

}  // namespace

std::vector<Baseline> run_baselines(const std::vector<fs::path>& files,
                                    const std::vector<fs::path>& prime,
                                    const std::function<bool(const std::string& what)>& on_wait) {
  const uint64_t most_bytes = size_of(prime) + size_of(files);
  if (most_bytes > kMostBaselineBytes)
    throw UsageError(
        format("--baselines: priming text and files are {}; the limit is {}, so that "
               "the compressors need no more than 4 GB of memory",
               human_bytes(double(most_bytes)), human_bytes(double(kMostBaselineBytes))));
  Bench bench(most_bytes, on_wait);
  std::vector<Baseline> baselines = described_baselines(most_bytes, files.size());
  try {
    measure_alone(bench, files, baselines);
    if (!prime.empty()) measure_primed(bench, files, prime, baselines);
    for (Baseline& baseline : baselines) baseline.each = sum_of(baseline.files);
  } catch (const Stopped&) {
    return {};
  }
  return baselines;
}

}  // namespace axl
