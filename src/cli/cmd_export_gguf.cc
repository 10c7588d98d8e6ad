#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "axl/model/llama_gguf.h"
#include "axl/train/holdout.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/run_files.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

// Programs read metadata whole when they open a file, value by value: 24 MiB take llama.cpp another
// second and a reader in JavaScript three.
constexpr int64_t kMostCarried = int64_t{32} << 20;
constexpr const char* kModelfileMark = "# Written by axl export-gguf.";

struct GgufOptions {
  std::string type = "f16";
  bool with_axl = false;
};

LlamaType llama_type(const std::string& name) {
  for (size_t i = 0; i < std::size(kLlamaTypes); ++i)
    if (kLlamaTypes[i] == name) return static_cast<LlamaType>(i);
  throw UsageError(format("--type: '{}' is not one of {}{}", name, fmt::join(kLlamaTypes, ", "),
                          did_you_mean(name, {std::begin(kLlamaTypes), std::end(kLlamaTypes)})));
}

/// Bits per byte on a sample of the run's held-out files, where those are there.
struct Scores {
  std::optional<double> full, fine, exported;
};

double score(const Model& model, Head head, const Corpus& corpus, int64_t bytes) {
  const int64_t rows = std::max<int64_t>(model.config().max_seq_len, 2048);
  Activations activations(model.config(), rows, Activations::Mode::kInference);
  return holdout_bits_per_byte(model, corpus, bytes, activations, head);
}

Scores score_export(const std::optional<Config>& run, const Model& model, const Model& exported,
                    const Globals& globals) {
  Scores scores;
  std::string why = "there is no config.yaml of a run beside the model";
  const auto corpus = run ? held_out_files(run->train, globals, why) : nullptr;
  if (!corpus) {
    spdlog::info("what the export costs is not measured: {}", why);
    return scores;
  }
  const int64_t bytes = run->train.eval_bytes;
  if (model.config().n_scales() > 1) scores.full = score(model, Head::kFused, *corpus, bytes);
  scores.fine = score(model, Head::kFine, *corpus, bytes);
  scores.exported = score(exported, Head::kFused, *corpus, bytes);
  return scores;
}

void warn_of_untrained_head(const std::optional<Config>& run, const Model& model) {
  if (model.config().n_scales() == 1 || !run || run->train.fine_loss_weight > 0) return;
  spdlog::warn(
      "the fine head, all that llama.cpp runs, was never trained: the run's "
      "train.fine_loss_weight is 0. Expect nonsense; train with --set train.fine_loss_weight=2, "
      "or distil the model into one of a single scale (axl distill)");
}

/// Where the Modelfile goes; throws where a stranger's is in the way.
fs::path modelfile_beside(const fs::path& out) {
  const fs::path path = out.parent_path() / "Modelfile";
  if (fs::exists(path) && !read_text(path).starts_with(kModelfileMark))
    throw Error(
        format("{}: a Modelfile that axl did not write is in the way; move it, or choose "
               "another directory for --out",
               path.string()));
  return path;
}

/// For `ollama create NAME -f Modelfile`. A byte model has no chat template, and penalties on
/// repeated tokens would be on repeated letters.
std::string modelfile(const fs::path& out, const ModelConfig& config) {
  return format(
      "{}\nFROM ./{}\nTEMPLATE \"{{{{ .Prompt }}}}\"\nPARAMETER num_ctx {}\n"
      "PARAMETER temperature 0.8\nPARAMETER top_k 40\nPARAMETER repeat_penalty 1\n",
      kModelfileMark, out.filename().string(), config.max_seq_len);
}

Json report_json(const QuantizedReport& report, const Scores& scores) {
  Json tensors = Json::array();
  for (const QuantizedTensor& t : report.tensors)
    tensors.push_back({{"name", t.name},
                       {"type", element_format(t.type).name},
                       {"wanted", element_format(t.wanted).name},
                       {"fallback", t.fallback()},
                       {"elements", t.elements},
                       {"bytes", t.bytes}});
  const auto number = [](const std::optional<double>& v) { return v ? Json(*v) : Json(nullptr); };
  return {{"bits_per_weight", report.bits_per_weight()},
          {"tensors", tensors},
          {"bpb_full", number(scores.full)},
          {"bpb_fine", number(scores.fine)},
          {"bpb_exported", number(scores.exported)}};
}

/// "blk.0.attn_q.weight" and its likes in other layers are one line.
std::string kind_of(const std::string& name) {
  if (!name.starts_with("blk.")) return name;
  return "blk.*" + name.substr(name.find('.', 4));
}

void print_tensors(const QuantizedReport& report) {
  struct Line {
    std::string kind, type;
    std::vector<std::string> layers;
    int64_t bytes = 0;
  };
  std::vector<Line> lines;
  for (const QuantizedTensor& t : report.tensors) {
    const std::string type =
        t.fallback() ? format("{}, for {} needs rows of whole blocks", element_format(t.type).name,
                              element_format(t.wanted).name)
                     : std::string(element_format(t.type).name);
    const std::string kind = kind_of(t.name);
    auto line = std::find_if(lines.begin(), lines.end(),
                             [&](const Line& l) { return l.kind == kind && l.type == type; });
    if (line == lines.end()) line = lines.insert(lines.end(), Line{kind, type, {}, 0});
    line->bytes += t.bytes;
    if (t.name != kind) line->layers.push_back(t.name.substr(4, t.name.find('.', 4) - 4));
  }
  const int64_t layers =
      std::count_if(report.tensors.begin(), report.tensors.end(),
                    [](const QuantizedTensor& t) { return t.name.ends_with(".attn_norm.weight"); });
  for (const Line& l : lines) {
    const bool in_all = static_cast<int64_t>(l.layers.size()) == layers;
    const std::string name = l.layers.empty() || in_all
                                 ? l.kind
                                 : format("blk.{}{}", fmt::join(l.layers, ","), l.kind.substr(5));
    fmt::print("{:<36}{:>10}  {}\n", name, human_bytes(double(l.bytes)), l.type);
  }
}

void print_scores(const Scores& s) {
  if (s.full)
    fmt::print("held-out files, a sample: the whole model {:.4f} bits per byte, ", *s.full);
  else if (s.fine)
    fmt::print("held-out files, a sample: ");
  if (s.fine)
    fmt::print("the fine head {:.4f}, as exported {:.4f} ({:+.1f} %)\n", *s.fine, *s.exported,
               100 * (*s.exported / s.full.value_or(*s.fine) - 1));
}

void require_carriable(int64_t bytes) {
  if (bytes <= kMostCarried) return;
  throw Error(
      format("--with-axl: the whole model takes {}, but programs read a file's metadata whole, and "
             "{} is as much as they should; write it beside, by axl quantize",
             human_bytes(double(bytes)), human_bytes(double(kMostCarried))));
}

/// The whole model as the bytes of a file that axl maps, for --with-axl.
std::vector<uint8_t> whole_model(const Model& model, const std::string& name) {
  if (model.config().n_scales() == 1)
    throw UsageError("--with-axl: the model has one scale, so the file holds all of it anyway");
  require_carriable(model.parameter_count() * sizeof(uint16_t));  // before as much is written
  const TemporaryDirectory dir;
  const fs::path file = dir.path() / "model.gguf";
  save_quantized(model, QuantizedType::kBF16, file, name);
  require_carriable(static_cast<int64_t>(fs::file_size(file)));
  const std::string text = read_text(file);
  return {text.begin(), text.end()};
}

int export_gguf(const GgufOptions& o, const Globals& globals) {
  if (globals.out.empty()) throw UsageError("-o/--out is needed: the .gguf file to write");
  const LlamaType type = llama_type(o.type);
  const fs::path out = globals.out, source = resolve_model(globals.model);
  std::error_code ignored;
  if (fs::equivalent(source, out, ignored))
    throw UsageError(format("--out '{}' is the model itself; choose another name", globals.out));
  const fs::path modelfile_path = modelfile_beside(out);
  const Model model = load_model(source);
  const std::optional<Config> run = config_beside(source);
  const std::string name = fs::weakly_canonical(source).parent_path().filename().string();
  const std::vector<uint8_t> carried =
      o.with_axl ? whole_model(model, name) : std::vector<uint8_t>();
  const QuantizedReport report = save_llama(model, type, out, name, carried);
  const Model exported = load_llama(GgufFile(out));  // read back before success is reported
  if (o.with_axl) load_model(out);
  write_text(modelfile_path, modelfile(out, model.config()));
  warn_of_untrained_head(run, model);
  const Scores scores = score_export(run, model, exported, globals);

  const auto bytes = static_cast<int64_t>(fs::file_size(out));
  if (globals.json) {
    Json json = {{"out", out.string()},
                 {"modelfile", modelfile_path.string()},
                 {"type", o.type},
                 {"bytes", bytes}};
    json.update(report_json(report, scores));
    print_json(json);
    return kExitDone;
  }
  print_tensors(report);
  fmt::print("{}: {}, {:.3f} bits per weight\n", out.string(), human_bytes(double(bytes)),
             report.bits_per_weight());
  print_scores(scores);
  fmt::print("Ollama: ollama create NAME -f {}\n", modelfile_path.string());
  return kExitDone;
}

}  // namespace

Action setup_export_gguf(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<GgufOptions>();
  app.add_option("--type", o->type, format("One of {}", fmt::join(kLlamaTypes, ", ")))
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_flag("--with-axl", o->with_axl,
               "Put the whole model into the file too, in bf16: axl commands then use that");
  add_out_option(app, globals, "The .gguf file to write; a Modelfile for Ollama goes beside it");
  return [o, &globals] { return export_gguf(*o, globals); };
}

}  // namespace axl
