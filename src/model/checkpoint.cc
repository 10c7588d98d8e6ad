#include "axl/model/checkpoint.h"

#include <set>
#include <vector>

#include "axl/base/format.h"
#include "axl/formats/safetensors.h"

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

void check_tensor_names(const SafetensorsFile& file, const std::vector<Parameter>& parameters) {
  std::set<std::string> known;
  for (const Parameter& p : parameters) known.insert(p.name);
  for (const auto& [name, tensor] : file.tensors())
    if (!known.count(name))
      throw Error(format("{}: tensor '{}' is not part of the model that its axl_config describes",
                         file.path().string(), name));
}

}  // namespace

void save_model(const Model& model, const fs::path& dir,
                const std::map<std::string, std::string>& extra) {
  std::vector<TensorSource> tensors;
  for (const Parameter& p : model.parameters())
    tensors.push_back({p.name, DType::kF32, p.shape, model.data() + p.offset});
  std::map<std::string, std::string> metadata = extra;
  metadata["format"] = "pt";
  metadata["axl_config"] = to_json(model.config());
  write_safetensors(dir / kModelFile, tensors, metadata);
}

Model load_model(const fs::path& path) {
  const SafetensorsFile file(weights_file(path));
  const std::string name = file.path().string();
  const auto config = file.metadata().find("axl_config");
  if (config == file.metadata().end())
    throw Error(format("{}: no axl_config in its metadata, so it is not a model of axl", name));
  const ModelConfig parsed = model_config_from_json(config->second, name);
  const std::vector<Parameter> parameters = parameter_table(parsed);
  check_tensor_names(file, parameters);  // before memory is taken for what the header claims
  for (const Parameter& p : parameters)
    if (file.tensor(p.name).shape != p.shape)
      throw Error(
          format("{}: tensor '{}' has another shape than its axl_config says", name, p.name));
  Model model(parsed);
  for (const Parameter& p : parameters) file.read_floats(p.name, p.shape, model.data() + p.offset);
  return model;
}

}  // namespace axl
