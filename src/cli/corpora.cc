#include "cli/corpora.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <set>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "cli/progress.h"

namespace axl {
namespace fs = std::filesystem;

CorpusSplit find_files(const TrainConfig& t) {
  std::vector<CorpusFile> files = find_corpus_files(t.data, t.suffixes);
  if (t.eval_data.empty()) return split_corpus(std::move(files), t.holdout, t.seed);
  CorpusSplit split{{}, find_corpus_files(t.eval_data, t.suffixes)};
  std::set<fs::path> held_out;
  for (const CorpusFile& f : split.holdout) held_out.insert(fs::canonical(f.path));
  for (CorpusFile& f : files)
    if (!held_out.count(fs::canonical(f.path))) split.train.push_back(std::move(f));
  if (split.train.empty())
    throw Error("every training file is also a held-out file (train.eval_data); nothing is left");
  return split;
}

std::unique_ptr<Corpus> index_files(std::vector<CorpusFile> files, const Globals& globals) {
  Progress progress(globals.quiet);
  return std::make_unique<Corpus>(std::move(files), [&](uint64_t done, uint64_t all) {
    progress.update(
        format("indexing {} of {}", human_bytes(double(done)), human_bytes(double(all))));
  });
}

Corpora load_corpora(const TrainConfig& t, const Globals& globals) {
  CorpusSplit split = find_files(t);
  Corpora corpora;
  if (!split.holdout.empty())
    corpora.holdout = index_files(std::move(split.holdout), globals);
  else if (t.holdout > 0)
    spdlog::warn(
        "the data is a single file, which cannot be split: no held-out score (give "
        "--eval-data, or --holdout 0 to silence this)");
  corpora.train = index_files(std::move(split.train), globals);
  return corpora;
}

}  // namespace axl
