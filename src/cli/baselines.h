#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace axl {

/// What a compressor makes of a text.
struct CompressedSize {
  uint64_t bytes = 0;                   ///< of the text
  uint64_t alone = 0;                   ///< of its compressed form
  std::optional<uint64_t> primed = {};  ///< what it adds to the compressed priming text, if taken

  double bits_per_byte() const { return 8.0 * double(alone) / double(bytes); }
  double primed_bits_per_byte() const { return 8.0 * double(primed.value_or(0)) / double(bytes); }
};

/// What one compressor makes of the evaluated files.
struct Baseline {
  std::string name;     ///< "xz", "zstd", "ppmd"
  std::string command;  ///< as run, with the size of its window or memory; empty when not installed
  std::string missing;  ///< when not installed: what to do about it; else empty
  std::vector<CompressedSize> files;  ///< in the order of the files
  CompressedSize each;                ///< sum over the files, each compressed by itself
  CompressedSize together;            ///< all files as one text
};

/// Files of which each is primed on its own; of more, only all together are: each takes a run over
/// the whole priming text.
constexpr size_t kMostPrimedFiles = 4;
/// Of priming text and evaluated files, so that no compressor needs more than 4 GB.
constexpr uint64_t kMostBaselineBytes = uint64_t{256} << 20;

/// Compresses the files by xz, zstd and PPMd (of 7-Zip), as far as they are installed, one after
/// the other and all at their strongest. With priming files, a compressor first reads those, joined
/// in the given order, by a window that holds all of it: primed = size(prime + text) − size(prime).
/// Runs for minutes: `on_wait(what)`, called often, returns false to stop; the result is then
/// empty. Throws Error when a compressor fails, UsageError above kMostBaselineBytes.
std::vector<Baseline> run_baselines(const std::vector<std::filesystem::path>& files,
                                    const std::vector<std::filesystem::path>& prime,
                                    const std::function<bool(const std::string& what)>& on_wait);

}  // namespace axl
