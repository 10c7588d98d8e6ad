#pragma once

#include <memory>
#include <vector>

#include "axl/data/corpus.h"
#include "axl/train/config.h"
#include "cli/command.h"

namespace axl {

struct Corpora {
  std::unique_ptr<Corpus> train, holdout;  ///< holdout is null where nothing is held out
};

/// Training files and held-out files of a configuration; no file is ever on both sides.
CorpusSplit find_files(const TrainConfig& config);

/// Indexes them with a progress line.
std::unique_ptr<Corpus> index_files(std::vector<CorpusFile> files, const Globals& globals);

/// Both, with a warning where data that should be split cannot be.
Corpora load_corpora(const TrainConfig& config, const Globals& globals);

}  // namespace axl
