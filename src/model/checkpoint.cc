#include "axl/model/checkpoint.h"

#include <cstring>
#include <set>
#include <vector>

#include "axl/base/format.h"
#include "axl/formats/safetensors.h"
#include "axl/model/gguf_model.h"
#include "float_tensors.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

fs::path weights_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  if (!fs::exists(path / kModelFile, ignored))
    throw Error(format("{}: the directory holds no {}; a model is made by `axl train`",
                       path.string(), kModelFile));
  return path / kModelFile;
}

ModelConfig config_of(const SafetensorsFile& file) {
  const std::string name = file.path().string();
  const auto config = file.metadata().find("axl_config");
  if (config == file.metadata().end())
    throw Error(format("{}: no axl_config in its metadata, so it is not a model of axl", name));
  return model_config_from_json(config->second, name);
}

void check_tensor_names(const SafetensorsFile& file, const std::vector<Parameter>& parameters,
                        const ModelConfig& config) {
  std::set<std::string> known;
  for (const Parameter& p : parameters) known.insert(p.name);
  for (int64_t n : config.recall.orders) known.insert(recall_tensor(n));
  for (const auto& [name, tensor] : file.tensors())
    if (!known.count(name))
      throw Error(
          format("{}: tensor '{}' is not part of the model that its configuration describes",
                 file.path().string(), name));
}

void check_slots(const SafetensorsFile& file, const ModelConfig& config) {
  const int64_t slots = int64_t{1} << config.recall.bits;
  for (int64_t n : config.recall.orders) {
    const SafetensorsFile::Tensor& tensor = file.tensor(recall_tensor(n));
    if (tensor.dtype != DType::kU32 || tensor.shape != std::vector<int64_t>{slots})
      throw Error(format("{}: tensor '{}' is not the {} 32-bit slots that its configuration says",
                         file.path().string(), recall_tensor(n), slots));
  }
}

Model load_weights(const SafetensorsFile& file, const ModelConfig& config) {
  const std::string name = file.path().string();
  const std::vector<Parameter> parameters = parameter_table(config);
  // All this before memory is taken for what the header claims.
  check_tensor_names(file, parameters, config);
  for (const Parameter& p : parameters)
    if (file.tensor(p.name).shape != p.shape)
      throw Error(
          format("{}: tensor '{}' has another shape than its configuration says", name, p.name));
  check_slots(file, config);
  Model model(config);
  for (const Parameter& p : parameters) file.read_floats(p.name, p.shape, model.data() + p.offset);
  for (size_t i = 0; i < config.recall.orders.size(); ++i) {
    const std::string_view slots = file.tensor(recall_tensor(config.recall.orders[i])).bytes;
    std::memcpy(model.recall().data(i), slots.data(), slots.size());
  }
  return model;
}

}  // namespace

std::string recall_tensor(int64_t order) { return format("recall.{}.slots", order); }

void write_model(const Model& model, const fs::path& path, DType type,
                 const std::map<std::string, std::string>& extra) {
  FloatTensors tensors;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& p = model.parameters()[i];
    const ParameterValues values = model.values()[i];
    // Embedding tables are large and each row weighs little: half the bits are enough at rest.
    const DType used = p.role == Role::kTable ? DType::kBF16 : type;
    if (values.bf16)
      tensors.sources().push_back({p.name, DType::kBF16, p.shape, values.bf16});
    else
      tensors.add(p.name, used, p.shape, values.f32);
  }
  const Recall& recall = model.recall();
  for (size_t i = 0; i < recall.orders().size(); ++i)
    tensors.sources().push_back(
        {recall_tensor(recall.orders()[i]), DType::kU32, {recall.slots()}, recall.data(i)});
  std::map<std::string, std::string> metadata = extra;
  metadata["format"] = "pt";
  metadata["axl_config"] = to_json(model.config());
  write_safetensors(path, tensors.sources(), metadata);
}

void save_model(const Model& model, const fs::path& dir,
                const std::map<std::string, std::string>& extra) {
  write_model(model, dir / kModelFile, DType::kF32, extra);
}

ModelConfig load_model_config(const fs::path& path) {
  const fs::path weights = weights_file(path);
  return is_gguf(weights) ? gguf_model_config(weights) : config_of(SafetensorsFile(weights));
}

Model load_model(const fs::path& path) {
  const fs::path weights = weights_file(path);
  if (is_gguf(weights)) return load_gguf_model(weights);
  const SafetensorsFile file(weights);
  return load_weights(file, config_of(file));
}

Model load_model(const fs::path& path, const ModelConfig& config) {
  const SafetensorsFile file(weights_file(path));
  if (file.metadata().count("axl_config") && config_of(file) != config)
    throw Error(format("{}: its configuration is {}, not that given", file.path().string(),
                       to_json(config_of(file))));
  return load_weights(file, config);
}

}  // namespace axl
