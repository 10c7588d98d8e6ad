#include "axl/train/run_state.h"

#include <charconv>
#include <cstring>

#include "axl/base/format.h"
#include "axl/formats/safetensors.h"
#include "axl/tensor/half.h"

namespace axl {
namespace {

constexpr const char* kBf16Weights = "weights_bf16";

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

/// What a run keeps in bf16 or f32 cannot change on the way.
void require_dtype(const SafetensorsFile& file, const std::string& tensor, bool wants_bf16,
                   bool has_bf16, const char* key, const std::filesystem::path& dir) {
  if (wants_bf16 == has_bf16) return;
  const char* has = has_bf16 ? "bf16" : "f32";
  throw Error(format(
      "{}: the run keeps '{}' in {}, not in {}; resume it with --set {}={}, or begin "
      "a new run with --init {}",
      file.path().string(), tensor, has, wants_bf16 ? "bf16" : "f32", key, has, dir.string()));
}

/// A tensor of bf16 as it is.
void read_halves(const SafetensorsFile& file, const std::string& name, std::span<uint16_t> out) {
  const SafetensorsFile::Tensor& tensor = file.tensor(name);
  if (tensor.dtype != DType::kBF16 || tensor.bytes.size() != out.size_bytes())
    throw Error(format("{}: tensor '{}' is not {} numbers in bf16", file.path().string(), name,
                       out.size()));
  std::memcpy(out.data(), tensor.bytes.data(), out.size_bytes());
  if (!bf16_are_finite(out))
    throw Error(format("{}: tensor '{}' holds a number that is not finite; the state is damaged",
                       file.path().string(), name));
}

}  // namespace

void save_run_state(const std::filesystem::path& dir, const RunState& state, const Model& model,
                    std::span<const OptimizerState> optimizer) {
  const std::span<const float> f32 = model.f32_values();
  const std::span<const uint16_t> bf16 = model.bf16_values();
  std::vector<TensorSource> tensors{{"weights", DType::kF32, {std::ssize(f32)}, f32.data()}};
  if (!bf16.empty())
    tensors.push_back({kBf16Weights, DType::kBF16, {std::ssize(bf16)}, bf16.data()});
  for (const OptimizerState& s : optimizer) {
    const void* data = s.bf16 ? static_cast<const void*>(s.bf16) : s.data;
    tensors.push_back(
        {"optimizer." + s.name, s.bf16 ? DType::kBF16 : DType::kF32, {s.count}, data});
  }
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
  const std::span<float> f32 = model.f32_values();
  const std::span<uint16_t> bf16 = model.bf16_values();
  require_dtype(file, kBf16Weights, !bf16.empty(), file.tensors().count(kBf16Weights) > 0,
                "train.weights_dtype", dir);
  file.read_floats("weights", {std::ssize(f32)}, f32.data());
  if (!bf16.empty()) read_halves(file, kBf16Weights, bf16);
  for (const OptimizerState& s : optimizer) {
    const std::string tensor = "optimizer." + s.name;
    require_dtype(file, tensor, s.bf16, file.tensor(tensor).dtype == DType::kBF16,
                  "train.momentum_dtype", dir);
    if (s.bf16)
      read_halves(file, tensor, {s.bf16, static_cast<size_t>(s.count)});
    else
      file.read_floats(tensor, {s.count}, s.data);
  }
  return state;
}

}  // namespace axl
