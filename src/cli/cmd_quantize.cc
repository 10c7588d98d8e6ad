#include <CLI/CLI.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "axl/model/quantized.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

struct QuantizeOptions {
  std::string model, type = "q8_0", out;
};

QuantizedType quantized_type(const std::string& name) {
  for (size_t i = 0; i < std::size(kQuantizedTypes); ++i)
    if (kQuantizedTypes[i] == name) return static_cast<QuantizedType>(i);
  throw UsageError(format("--type: '{}' is not one of bf16, q8_0, q4_k_m", name));
}

Json tensors_json(const QuantizedReport& report) {
  Json list = Json::array();
  for (const QuantizedTensor& t : report.tensors)
    list.push_back({{"name", t.name},
                    {"type", element_format(t.type).name},
                    {"elements", t.elements},
                    {"bytes", t.bytes},
                    {"fallback", t.fallback()}});
  return list;
}

void print_report(const QuantizedReport& report, const fs::path& out, int64_t file_bytes) {
  std::map<std::string_view, std::pair<int64_t, int64_t>> by_type;  // tensors, bytes
  int64_t fallbacks = 0;
  for (const QuantizedTensor& t : report.tensors) {
    auto& [tensors, bytes] = by_type[element_format(t.type).name];
    ++tensors, bytes += t.bytes, fallbacks += t.fallback();
  }
  for (const auto& [type, sum] : by_type)
    fmt::print("{:<6}{:>5} tensors  {:>10}\n", type, sum.first, human_bytes(double(sum.second)));
  if (fallbacks > 0)
    fmt::print("{} tensors have rows too short for blocks of 256 and are q8_0\n", fallbacks);
  fmt::print("{}: {}, {:.3f} bits per weight\n", out.string(), human_bytes(double(file_bytes)),
             report.bits_per_weight());
}

int quantize(const QuantizeOptions& o, const Globals& globals) {
  if (o.out.empty()) throw UsageError("-o/--out is needed: the .gguf file to write");
  const fs::path source =
      o.model.empty() ? resolve_model(globals.model) : model_file(o.model, "axl quantize");
  std::error_code ignored;
  if (fs::equivalent(source, o.out, ignored))
    throw UsageError(format("--out '{}' is the model itself; choose another name", o.out));
  const QuantizedType type = quantized_type(o.type);
  const QuantizedReport report =
      save_quantized(load_model(source), type, o.out,
                     fs::weakly_canonical(source).parent_path().filename().string());
  load_model(o.out);  // read back before success is reported
  const auto bytes = static_cast<int64_t>(fs::file_size(o.out));
  if (globals.json)
    print_json({{"out", o.out},
                {"type", o.type},
                {"bytes", bytes},
                {"bits_per_weight", report.bits_per_weight()},
                {"tensors", tensors_json(report)}});
  else
    print_report(report, o.out, bytes);
  return kExitDone;
}

}  // namespace

Action setup_quantize(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<QuantizeOptions>();
  app.add_option("model", o->model,
                 "Model to quantise (directory or .safetensors file); default --model")
      ->type_name("MODEL");
  app.add_option("--type", o->type, "bf16, q8_0 (8.5 bits per weight) or q4_k_m (about 5)")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("-o,--out", o->out, "The .gguf file to write")->type_name("FILE");
  return [o, &globals] { return quantize(*o, globals); };
}

}  // namespace axl
