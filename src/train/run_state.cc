#include "axl/train/run_state.h"

#include <charconv>

#include "axl/base/format.h"
#include "axl/formats/safetensors.h"

namespace axl {
namespace {

template <class Number>
Number number(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  const std::string text = found == file.metadata().end() ? "" : found->second;
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(format("{}: '{}' is '{}', not a number: the file is no training state of axl",
                       file.path().string(), key, text));
  return value;
}

std::string text(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw Error(format("{}: '{}' is missing: the file is no training state of axl",
                       file.path().string(), key));
  return found->second;
}

}  // namespace

void save_run_state(const std::filesystem::path& dir, const RunState& state, const Model& model,
                    std::span<const OptimizerState> optimizer) {
  std::vector<TensorSource> tensors{
      {"weights", DType::kF32, {model.parameter_count()}, model.data()}};
  for (const OptimizerState& s : optimizer)
    tensors.push_back({"optimizer." + s.name, DType::kF32, {s.count}, s.data});
  write_safetensors(dir / kStateFile, tensors,
                    {{"axl_config", to_json(model.config())},
                     {"step", format("{}", state.step)},
                     {"seconds", format("{}", state.seconds)},
                     {"recent_loss", format("{}", state.recent_loss)},
                     {"seed", format("{}", state.seed)},
                     {"corpus_fingerprint", format("{}", state.corpus_fingerprint)},
                     {"teacher", format("{}", state.teacher)},
                     {"optimizer", state.optimizer}});
}

RunState load_run_state(const std::filesystem::path& dir, Model& model,
                        std::span<const OptimizerState> optimizer,
                        const std::string& optimizer_name) {
  const SafetensorsFile file(dir / kStateFile);
  const std::string name = file.path().string();
  const ModelConfig config = model_config_from_json(text(file, "axl_config"), name);
  if (config != model.config())
    throw Error(
        format("{}: the run has another model configuration; resume it with its own "
               "config.yaml, or begin a new run with --out elsewhere",
               name));
  RunState state;
  state.optimizer = text(file, "optimizer");
  if (state.optimizer != optimizer_name)
    throw Error(
        format("{}: the run was trained by {}, not by {}; the optimizer of a run cannot "
               "change. Begin a new one with --init {}",
               name, state.optimizer, optimizer_name, dir.string()));
  state.step = number<int64_t>(file, "step");
  state.seconds = number<double>(file, "seconds");
  state.recent_loss = number<double>(file, "recent_loss");
  state.seed = number<uint64_t>(file, "seed");
  state.corpus_fingerprint = number<uint64_t>(file, "corpus_fingerprint");
  // Runs of an axl without distillation do not mention it.
  if (file.metadata().count("teacher")) state.teacher = number<uint64_t>(file, "teacher");
  file.read_floats("weights", {model.parameter_count()}, model.data());
  for (const OptimizerState& s : optimizer)
    file.read_floats("optimizer." + s.name, {s.count}, s.data);
  return state;
}

}  // namespace axl
