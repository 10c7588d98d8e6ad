#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <string>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "axl/model/hf_llama.h"
#include "axl/model/quantized.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/json.h"
#include "cli/model_path.h"

// Models to and from what other programs read: export-safetensors and import.

namespace axl {
namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  std::string type = "f32";
  bool hf_llama = false;
};
struct ImportOptions {
  std::string source, config;
};

DType dtype(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "bf16") return DType::kBF16;
  throw UsageError(format("--type: '{}' is not one of f32, bf16", name));
}

void report(const Model& model, const fs::path& out, const Globals& globals) {
  if (globals.json)
    print_json({{"out", out.string()}, {"params", model.parameter_count()}});
  else
    fmt::print("{}: {} parameters\n", out.string(), human_count(double(model.parameter_count())));
}

int export_safetensors(const ExportOptions& o, const Globals& globals) {
  const char* what = o.hf_llama ? "the directory" : "the .safetensors file";
  if (globals.out.empty()) throw UsageError(format("-o/--out is needed: {} to write", what));
  const DType type = dtype(o.type);
  const fs::path out = globals.out, source = resolve_model(globals.model);
  std::error_code ignored;
  if (fs::equivalent(source, o.hf_llama ? out / kModelFile : out, ignored))
    throw UsageError(format("--out '{}' is the model itself; choose another name", globals.out));
  Model model = load_model(source);
  if (model.is_stored()) model = decoded(model);
  if (o.hf_llama) {
    save_hf_llama(model, type, out);
    report(load_hf_llama(out), out, globals);  // read back before success is reported
    return kExitDone;
  }
  write_model(model, out, type);
  report(load_model(out), out, globals);
  return kExitDone;
}

Model import_model(const ImportOptions& o) {
  if (is_hf_model(o.source)) return load_hf_llama(o.source);
  const fs::path file = model_file(o.source, "axl import");
  if (!o.config.empty()) {
    Config config = load_config(o.config);
    config.model.fill_in_middle = config.train.fim_rate > 0;  // as it was trained
    return load_model(file, config.model);
  }
  Model model = load_model(file);
  return model.is_stored() ? decoded(model) : std::move(model);
}

int import(const ImportOptions& o, const Globals& globals) {
  if (globals.out.empty()) throw UsageError("-o/--out is needed: the model directory to write");
  const fs::path out = globals.out;
  if (fs::exists(out / kModelFile))
    throw UsageError(
        format("--out '{}' holds a model already; choose another directory", globals.out));
  const Model model = import_model(o);
  Config config;
  config.name = fs::weakly_canonical(out).filename().string();
  config.model = model.config();
  try {
    config.validate();
  } catch (const UsageError&) {  // of the name: what else it could be has been checked
    config.name = "imported";
  }
  make_writable_directory(out);
  write_text(out / "config.yaml", config_yaml(config));
  save_model(model, out);
  report(load_model(out), out, globals);
  return kExitDone;
}

}  // namespace

Action setup_export_safetensors(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<ExportOptions>();
  app.add_option("--type", o->type, "f32 or bf16")->type_name("TYPE")->capture_default_str();
  app.add_flag("--hf-llama", o->hf_llama,
               "Write the fine head as a directory for Hugging Face transformers "
               "(LlamaForCausalLM) instead");
  add_out_option(app, globals, "The .safetensors file, or with --hf-llama the directory, to write");
  return [o, &globals] { return export_safetensors(*o, globals); };
}

Action setup_import(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<ImportOptions>();
  app.add_option("source", o->source,
                 "A .safetensors file with the tensors of a model, a .gguf file of axl, or a "
                 "directory as --hf-llama writes it")
      ->type_name("SOURCE")
      ->required();
  app.add_option("--config", o->config,
                 "Configuration of a .safetensors file that does not carry its own, as PyTorch's "
                 "of a state_dict")
      ->type_name("NAME");
  add_out_option(app, globals, "The model directory to write");
  return [o, &globals] { return import(*o, globals); };
}

}  // namespace axl
