#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/formats/fields_json.h"
#include "axl/model/checkpoint.h"
#include "axl/model/cost.h"
#include "axl/train/memory.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/json.h"
#include "cli/model_path.h"

namespace axl {
namespace {
namespace fs = std::filesystem;

/// The configuration of a model: its dimensions from the weights' own metadata, the rest from the
/// config.yaml beside them where there is one.
Config config_of_model(const fs::path& file) {
  Config config;
  const fs::path beside = file.parent_path() / "config.yaml";
  std::error_code ignored;
  if (fs::is_regular_file(beside, ignored)) config = load_config(beside.string());
  config.model = load_model_config(file);
  return config;
}

/// The model file that `target` means, if it means one: a name of a configuration is the other
/// possibility.
std::optional<fs::path> model_of(const std::string& target, const Globals& globals) {
  if (target.empty()) return resolve_model(globals.model);
  std::error_code ignored;
  if (target.ends_with(".safetensors") || target.ends_with(".gguf") ||
      fs::is_directory(target, ignored)) {
    return model_file(target, "axl info");
  }
  return std::nullopt;
}

Json stacks_json(const ModelConfig& model, const ParameterCounts& counts) {
  Json stacks;
  for (size_t i = 0; i < counts.stacks.size(); ++i) {
    stacks[format("{}", model.downsample_factors[i])] = counts.stacks[i];
  }
  return stacks;
}

Json info_json(Config& config) {
  const ParameterCounts counts = count_parameters(config.model);
  return {
      {"params", counts.total()},
      {"config",
       {{"name", config.name},
        {"model", Json::parse(to_json(config.model))},
        {"train", Json::parse(fields_to_json(config.train.fields()))}}},
      {"train_bytes", peak_training_bytes(config.model, config.train)},
      {"run_bytes", inference_bytes(config.model)},
      {"flops_per_byte", training_flops_per_byte(config.model)},
      {"forward_flops_per_byte", forward_flops_per_byte(config.model)},
      {"decoding_weights_per_byte", decoding_weights_per_byte(config.model)},
      {"params_by_part",
       {{"embedding", counts.embedding},
        {"stacks", stacks_json(config.model, counts)},
        {"down", counts.down},
        {"up", counts.up},
        {"cross", counts.cross},
        {"gate", counts.gate},
        {"output", counts.output},
        {"tables", counts.tables}}},
  };
}

void print_row(const std::string& name, const std::string& value) {
  fmt::print("  {:<22}{}\n", name, value);
}

void print_fields(const char* title, const Fields& fields) {
  fmt::print("\n{}\n", title);
  for (const Field& field : fields) print_row(field.name, field_text(field));
}

void print_parameters(const ModelConfig& model) {
  const ParameterCounts counts = count_parameters(model);
  const auto part = [&](const std::string& name, int64_t count) {
    if (count == 0) return;
    print_row(name, format("{:>13}  {:5.1f} %", count, 100.0 * count / counts.total()));
  };
  fmt::print("\nparameters\n");
  part("embedding", counts.embedding);
  for (size_t i = 0; i < counts.stacks.size(); ++i) {
    part(format("stack of scale {}", model.downsample_factors[i]), counts.stacks[i]);
  }
  part("down", counts.down);
  part("up", counts.up);
  part("cross-scale", counts.cross);
  part("gate", counts.gate);
  part("output", counts.output);
  part("tables", counts.tables);
  part("total", counts.total());
}

void print_cost(const Config& config) {
  const ModelConfig& model = config.model;
  const auto flops = [](double value) { return format("{} FLOP per byte", human_count(value)); };
  fmt::print("\ncost\n");
  print_row("forward", flops(forward_flops_per_byte(model)));
  print_row("training", flops(training_flops_per_byte(model)));
  print_row("generating reads",
            human_bytes(decoding_weights_per_byte(model) * sizeof(float)) + " per byte");
  fmt::print("\nmemory\n");
  print_row("to train",
            format("{} ({}, batch {})", human_bytes(peak_training_bytes(model, config.train)),
                   config.train.optimizer, config.train.batch_size));
  print_row("to run", human_bytes(inference_bytes(model)));
}

int info(const std::string& target, const Globals& globals) {
  const std::optional<fs::path> model = model_of(target, globals);
  Config config = model ? config_of_model(*model) : load_config(target);
  if (globals.json) {
    print_json(info_json(config));
    return kExitDone;
  }
  fmt::print("{}: {} parameters{}\n", model ? model->string() : config.name,
             human_count(count_parameters(config.model).total()),
             model ? "" : " (" + find_config(target).string() + ")");
  print_fields("model", config.model.fields());
  if (model) print_row("fill_in_middle", config.model.fill_in_middle ? "true" : "false");
  if (!model) print_fields("train", config.train.fields());
  print_parameters(config.model);
  print_cost(config);
  return kExitDone;
}

}  // namespace

Action setup_info(CLI::App& app, Globals& globals) {
  auto target = std::make_shared<std::string>();
  app.add_option(
         "target", *target,
         "A model (directory, .safetensors or .gguf file) or a configuration (name or path); "
         "default --model")
      ->type_name("MODEL-or-CONFIG");
  return [target, &globals] { return info(*target, globals); };
}

}  // namespace axl
