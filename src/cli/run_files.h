#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "axl/data/corpus.h"
#include "axl/train/config.h"
#include "cli/command.h"

namespace axl {

/// The configuration that a run has left beside its model; nothing where there is none, as beside a
/// single file.
std::optional<Config> config_beside(const std::filesystem::path& model_file);

/// The files that the run has not learned from; null, with `why` saying so, where it held none out
/// or they are not there any more.
std::unique_ptr<Corpus> held_out_files(const TrainConfig& config, const Globals& globals,
                                       std::string& why);

}  // namespace axl
