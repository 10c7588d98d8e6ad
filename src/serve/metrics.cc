#include "serve/metrics.h"

#include <algorithm>

#include "axl/base/format.h"

namespace axl {
namespace {

std::string head(const std::string& name, const char* type, const std::string& help) {
  return format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

/// As the format asks for in a label's value.
std::string escaped(const std::string& value) {
  std::string result;
  for (const char c : value) {
    if (c == '\\' || c == '"') result += '\\';
    c == '\n' ? result += "\\n" : result += c;
  }
  return result;
}

struct EngineMetric {
  const char *name, *type, *help;
  double (*value)(const EngineStats&);
};

constexpr EngineMetric kEngineMetrics[] = {
    {"axl_running", "gauge", "texts being written",
     [](const EngineStats& s) { return double(s.running); }},
    {"axl_waiting", "gauge", "texts that wait for their turn",
     [](const EngineStats& s) { return double(s.waiting); }},
    {"axl_prompt_tokens_total", "counter", "tokens of prompts",
     [](const EngineStats& s) { return double(s.prompt_tokens); }},
    {"axl_reused_tokens_total", "counter", "tokens of prompts that a cache held",
     [](const EngineStats& s) { return double(s.reused_tokens); }},
    {"axl_written_tokens_total", "counter", "tokens written",
     [](const EngineStats& s) { return double(s.written_tokens); }},
    {"axl_guesses_total", "counter", "tokens guessed ahead",
     [](const EngineStats& s) { return double(s.guesses); }},
    {"axl_right_guesses_total", "counter", "tokens guessed ahead that were right",
     [](const EngineStats& s) { return double(s.right_guesses); }},
    {"axl_passes_total", "counter", "passes of the model",
     [](const EngineStats& s) { return double(s.passes); }},
    {"axl_pass_rows_total", "counter", "tokens that the passes took",
     [](const EngineStats& s) { return double(s.pass_rows); }},
    {"axl_pass_seconds_total", "counter", "time that the passes took",
     [](const EngineStats& s) { return s.pass_seconds; }},
};

std::string engine_metrics(const std::vector<ModelStatus>& models) {
  std::string out = head("axl_model_loads_total", "counter", "how often a model was loaded");
  std::map<std::string, EngineStats> stats;
  for (const ModelStatus& m : models) {
    out += format("axl_model_loads_total{{model=\"{}\"}} {}\n", escaped(m.name), m.loads);
    if (m.engine) stats[escaped(m.name)] = m.engine->stats();
  }
  for (const EngineMetric& metric : kEngineMetrics) {
    out += head(metric.name, metric.type, metric.help);
    for (const auto& [model, s] : stats)
      out += format("{}{{model=\"{}\"}} {}\n", metric.name, model, metric.value(s));
  }
  return out;
}

}  // namespace

void Metrics::Histogram::add(double seconds) {
  ++counts[std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin()];
  sum += seconds;
}

void Metrics::count(const std::string& route, int status, double seconds,
                    std::optional<double> first_byte_seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
  seconds_[route].add(seconds);
  if (first_byte_seconds) first_byte_[route].add(*first_byte_seconds);
}

void Metrics::write(const std::string& name, const std::string& help,
                    const std::map<std::string, Histogram>& histograms, std::string& out) {
  out += head(name, "histogram", help);
  for (const auto& [route, h] : histograms) {
    uint64_t below = 0;
    for (size_t i = 0; i < h.counts.size(); ++i) {
      below += h.counts[i];
      out += format("{}_bucket{{route=\"{}\",le=\"{}\"}} {}\n", name, route,
                    i < kBounds.size() ? format("{}", kBounds[i]) : "+Inf", below);
    }
    out += format("{}_sum{{route=\"{}\"}} {}\n", name, route, h.sum);
    out += format("{}_count{{route=\"{}\"}} {}\n", name, route, below);
  }
}

std::string Metrics::text(const std::vector<ModelStatus>& models) const {
  std::string out = engine_metrics(models);
  const std::lock_guard lock(mutex_);
  out += head("axl_requests_total", "counter", "requests by route and status");
  for (const auto& [key, count] : requests_)
    out +=
        format("axl_requests_total{{route=\"{}\",code=\"{}\"}} {}\n", key.first, key.second, count);
  write("axl_request_seconds", "from a request's arrival to its end", seconds_, out);
  write("axl_first_byte_seconds", "from a request's arrival to the first text of its answer",
        first_byte_, out);
  return out;
}

}  // namespace axl
