#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/memory.h"
#include "axl/base/parallel.h"
#include "axl/base/rng.h"
#include "axl/base/text.h"
#include "axl/infer/generate.h"
#include "axl/infer/session.h"
#include "axl/kernels/isa.h"
#include "axl/model/checkpoint.h"
#include "axl/model/cost.h"
#include "axl/train/learner.h"
#include "axl/train/memory.h"
#include "cli/ceilings.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/threads.h"

namespace axl {
namespace {

struct BenchOptions {
  std::string what, config, text;
  std::vector<std::string> set;
  double seconds = 10;
  int64_t draft = GenerateOptions().draft;
};

/// Whose products they are.
const char* gemm_maker(Precision precision) {
  return precision == Precision::kBf16 ? "axl" : gemm_backend();
}

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{1024} * usage.ru_maxrss;
}

std::vector<int32_t> random_bytes(int64_t n) {
  std::vector<int32_t> ids(n);
  Rng rng(1);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(256));
  return ids;
}

std::string shown(const Json& value) {
  if (value.is_number_float()) return format("{:.6g}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// Objects with the same keys, one to a line.
void print_rows(const Json& rows) {
  std::vector<size_t> widths;
  for (const auto& [key, _] : rows[0].items()) {
    widths.push_back(key.size());
    for (const Json& row : rows) widths.back() = std::max(widths.back(), shown(row[key]).size());
  }
  const auto print_line = [&](const Json& row, bool head) {
    std::string line;
    size_t column = 0;
    for (const auto& [key, value] : row.items())
      line += format("  {:<{}}", head ? key : shown(value), widths[column++]);
    fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  };
  print_line(rows[0], true);
  for (const Json& row : rows) print_line(row, false);
}

void print_table(const Json& json) {
  for (const auto& [key, value] : json.items()) {
    if (!value.is_array()) {
      fmt::print("{:<24}{}\n", key, shown(value));
    } else {
      fmt::print("{}\n", key);
      print_rows(value);
    }
  }
}

Json bench_train(const Config& config, double seconds) {
  const TrainConfig& t = config.train;
  require_memory(config, available_memory());
  const Precision precision = training_precision(t);
  const int64_t rows = t.batch_size * config.model.max_seq_len;
  Learner learner(config);
  const std::vector<int32_t> ids = random_bytes(rows), targets = random_bytes(rows);
  int64_t steps = 0;
  const auto step = [&] { learner.step(ids, targets, {.lr = 1e-6, .table_lr = 1e-6}, ++steps); };
  const double ceiling_before = gemm_ceiling(0.5, precision);
  step();
  const Clock::time_point begin = Clock::now();
  const double best = timing(seconds, step).best, all = seconds_since(begin);
  const double ceiling = std::max(ceiling_before, gemm_ceiling(0.5, precision));
  const double flops = training_flops_per_byte(config.model) * rows;
  return {{"bytes_per_s", rows * (steps - 1) / all},
          {"best_bytes_per_s", rows / best},
          {"gflops", flops * (steps - 1) / all / 1e9},
          {"ceiling_gflops", ceiling / 1e9},
          {"mfu", flops * (steps - 1) / all / ceiling},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"threads", max_threads()},
          {"precision", precision_name(precision)},
          {"isa", gemm_isa(precision)},
          {"kernels", kernel_isa()},
          {"gemm", gemm_maker(precision)},
          {"config", config.name},
          {"batch_size", t.batch_size},
          {"optimizer", t.optimizer}};
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * values.size()))];
}

/// What a model's matrices are coded as, by the first of them.
std::string_view matrix_type(const Model& model) {
  const Weight& w = model.weights().scales[0].stack[0].attn.wq;
  return w.is_packed() ? element_format(w.packed[0].type).name : "f32";
}

/// The first MiB of a file, a token for each byte.
std::vector<int32_t> tokens_of_file(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes().substr(0, 1 << 20);
  if (bytes.size() < 8)
    throw UsageError(format("{} has {} bytes; --text wants 8 or more", path, bytes.size()));
  std::vector<int32_t> tokens;
  for (const char c : bytes) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

/// Writes the text as if each of its bytes had been sampled, again and again from its first quarter
/// on, guessing ahead as axl generate does: the model has no say in how much of it repeats.
Json bench_given_text(const Model& model, std::span<const int32_t> tokens, int64_t draft,
                      double seconds) {
  const auto prompt = tokens.first(tokens.size() / 4);
  WritingStats all;
  int64_t written = 0;
  double busy = 0;
  const Clock::time_point begin = Clock::now();
  while (seconds_since(begin) < seconds) {
    Session session(model, 1, draft > 0 ? Renewal::kAtOnce : Renewal::kBest);
    size_t at = prompt.size();
    Clock::time_point start;
    const WritingStats did =
        write_ahead(session, prompt, std::ssize(tokens) - std::ssize(prompt), draft, "",
                    [&](std::span<const float>) -> std::optional<int32_t> {
                      if (at == prompt.size()) start = Clock::now();  // the prompt has been read
                      const bool ends = at + 1 == tokens.size() || seconds_since(begin) >= seconds;
                      return ends ? std::nullopt : std::optional(tokens[at++]);
                    });
    busy += seconds_since(start);
    written += static_cast<int64_t>(at - prompt.size());
    all.passes += did.passes - 1;
    all.guesses += did.guesses;
    all.right_guesses += did.right_guesses;
  }
  const double passes = std::max<double>(1, all.passes);
  return {{"bytes_per_s", busy > 0 ? written / busy : 0.0},
          {"bytes_per_pass", written / passes},
          {"guesses_per_pass", all.guesses / passes},
          {"right_guesses", all.guesses > 0 ? double(all.right_guesses) / all.guesses : 0.0},
          {"draft", draft},
          {"threads", max_threads()},
          {"precision", matrix_type(model)},
          {"isa", model.is_stored() ? packed_gemm_isa() : gemm_isa()},
          {"kernels", kernel_isa()}};
}

/// Generates, and after each second of it measures the bandwidth: what else the machine does slows
/// both down. The ceiling is that of the best readings, which a mean of many bytes is set against;
/// how much of that is the machine's own unrest, the mean of all readings tells.
Json bench_generate(const Model& model, double seconds) {
  const double weight_bytes = decoding_bytes_per_byte(model.weights());
  const BandwidthMeter meter(static_cast<int64_t>(weight_bytes));
  Session session(model);
  std::vector<double> times;
  Bandwidth sum;
  int measured = 0;
  const auto measure = [&] {
    const auto bandwidth = meter.measure(0.2);
    sum.best += bandwidth.best, sum.mean += bandwidth.mean;
    ++measured;
  };
  double all = 0;
  int32_t next = 'a';
  session.append(std::vector<int32_t>{kBos});
  while (all < seconds || times.size() < 8) {
    const Clock::time_point start = Clock::now();
    const auto logits = session.append({&next, 1});
    next = static_cast<int32_t>(std::max_element(logits.begin(), logits.begin() + 256) -
                                logits.begin());
    times.push_back(seconds_since(start));
    all += times.back();
    if (all >= measured + 1) measure();
  }
  if (measured == 0) measure();
  const double bytes_per_s = times.size() / all;
  const double best = sum.best / measured, mean = sum.mean / measured;
  return {{"bytes_per_s", bytes_per_s},
          {"ms_per_byte_p50", 1e3 * percentile(times, 0.5)},
          {"ms_per_byte_p99", 1e3 * percentile(times, 0.99)},
          {"weight_bytes_per_byte", weight_bytes},
          {"ceiling_bytes_per_s", best / weight_bytes},
          {"of_ceiling", bytes_per_s * weight_bytes / best},
          {"of_mean_bandwidth", bytes_per_s * weight_bytes / mean},
          {"bandwidth_bytes_per_s", best},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"threads", max_threads()},
          {"precision", matrix_type(model)},
          {"isa", model.is_stored() ? packed_gemm_isa() : gemm_isa()},
          {"kernels", kernel_isa()}};
}

/// Products at a model's own shapes, each as a share of the ceiling.
Json bench_gemm(const Config& config, double seconds) {
  const Precision precision = training_precision(config.train);
  const int64_t d = config.model.d_model, f = config.model.d_ff;
  const int64_t rows = config.train.batch_size * config.model.max_seq_len;
  struct WeightMatrix {
    const char* name;
    int64_t out, in;
  };
  const WeightMatrix weights[] = {{"attention qkv", 3 * d, d},
                                  {"attention output", d, d},
                                  {"ffn gate and up", 2 * f, d},
                                  {"ffn down", d, f},
                                  {"output", kVocab, d}};
  struct Product {
    const char* name;
    Trans ta, tb;
    int64_t m, n, k;
  };
  constexpr int kProducts = 3;
  const double each = seconds / (kProducts * std::size(weights) + 2);
  const double ceiling_before = gemm_ceiling(each, precision);
  Json list = Json::array();
  for (const WeightMatrix& w : weights) {
    const Product products[kProducts] = {
        {"y = x Wᵀ", Trans::kNo, Trans::kYes, rows, w.out, w.in},
        {"dx = dy W", Trans::kNo, Trans::kNo, rows, w.in, w.out},
        {"dW = dyᵀ x", Trans::kYes, Trans::kNo, w.out, w.in, rows},
    };
    for (const Product& p : products) {
      Buffer memory(sizeof(float) * (p.m * p.k + p.k * p.n + p.m * p.n));
      std::fill_n(memory.floats(), p.m * p.k + p.k * p.n, 0.5f);
      float* data = memory.floats();
      const Mat a = p.ta == Trans::kNo ? Mat(data, p.m, p.k) : Mat(data, p.k, p.m);
      data += p.m * p.k;
      const Mat b = p.tb == Trans::kNo ? Mat(data, p.k, p.n) : Mat(data, p.n, p.k);
      const Mat c(data + p.k * p.n, p.m, p.n);
      const auto multiply = [&] { gemm(p.ta, a, p.tb, b, c, Write::kAssign, 1.0f, precision); };
      list.push_back({{"weights", w.name},
                      {"product", p.name},
                      {"m", p.m},
                      {"n", p.n},
                      {"k", p.k},
                      {"gflops", 2.0 * p.m * p.n * p.k / timing(each, multiply).best / 1e9}});
    }
  }
  const double ceiling = std::max(ceiling_before, gemm_ceiling(each, precision));
  for (Json& row : list) row["of_ceiling"] = row["gflops"].get<double>() * 1e9 / ceiling;
  return {{"ceiling_gflops", ceiling / 1e9},
          {"threads", max_threads()},
          {"precision", precision_name(precision)},
          {"isa", gemm_isa(precision)},
          {"kernels", kernel_isa()},
          {"gemm", gemm_maker(precision)},
          {"products", list}};
}

Model model_to_measure(const BenchOptions& o, const Globals& globals) {
  if (o.config.empty()) return load_model(resolve_model(globals.model));
  Model model(load_config(o.config, o.set).model);
  model.init(0);
  return model;
}

int bench(const BenchOptions& o, const Globals& globals) {
  Json json;
  if (o.what == "generate") {
    const Model model = model_to_measure(o, globals);
    json = o.text.empty() ? bench_generate(model, o.seconds)
                          : bench_given_text(model, tokens_of_file(o.text), o.draft, o.seconds);
  } else {
    const Config config = load_config(o.config.empty() ? "axl_micro" : o.config, o.set);
    if (globals.threads == 0 && config.train.threads > 0) use_threads(config.train.threads);
    json = o.what == "train" ? bench_train(config, o.seconds) : bench_gemm(config, o.seconds);
  }
  if (globals.json)
    print_json(json);
  else
    print_table(json);
  return kExitDone;
}

}  // namespace

Action setup_bench(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<BenchOptions>();
  app.add_option("what", o->what, "What to measure: train, generate or gemm (matrix products)")
      ->type_name("WHAT")
      ->required()
      ->check(CLI::IsMember({"train", "generate", "gemm"}));
  app.add_option(
         "--config", o->config,
         "Configuration to measure, with fresh weights; train and gemm default to axl_micro")
      ->type_name("NAME");
  app.add_option("--set", o->set, "Overrides a key of the configuration; repeatable")
      ->type_name("KEY=VALUE");
  app.add_option("--seconds", o->seconds, "How long to measure")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--text", o->text,
                 "With generate: write this file as if its bytes were what is sampled, guessing "
                 "ahead as axl generate does")
      ->type_name("FILE");
  add_draft_option(app, o->draft, "With --text: as of axl generate");
  return [o, &globals] { return bench(*o, globals); };
}

}  // namespace axl
