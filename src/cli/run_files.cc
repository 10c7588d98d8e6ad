#include "cli/run_files.h"

#include "axl/base/error.h"
#include "cli/config_file.h"
#include "cli/corpora.h"

namespace axl {
namespace fs = std::filesystem;

std::optional<Config> config_beside(const fs::path& model_file) {
  const fs::path path = model_file.parent_path() / "config.yaml";
  std::error_code ignored;
  if (model_file.filename() != "model.safetensors" || !fs::is_regular_file(path, ignored))
    return std::nullopt;
  return load_config(path.string());
}

std::unique_ptr<Corpus> held_out_files(const TrainConfig& config, const Globals& globals,
                                       std::string& why) {
  try {
    std::vector<CorpusFile> files = config.eval_data.empty()
                                        ? find_files(config).holdout
                                        : find_corpus_files(config.eval_data, config.suffixes);
    if (!files.empty()) return index_files(std::move(files), globals);
    why = "the run held no files out";
  } catch (const Error& e) {
    why = e.what();
  }
  return nullptr;
}

}  // namespace axl
