#include "cli/evaluation_report.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "axl/base/format.h"

namespace axl {
namespace {

constexpr size_t kNamedFiles = 5;  // of many files, name so many

constexpr ByteKind kKinds[] = {ByteKind::kIndent, ByteKind::kSpace,  ByteKind::kWord,
                               ByteKind::kDigit,  ByteKind::kSymbol, ByteKind::kString,
                               ByteKind::kComment};
static_assert(std::size(kKinds) == kByteKinds);

std::string score_text(const std::string& name, const Score& s) {
  return format("{}: {} bytes, {:.4f} nats per byte, {:.4f} bits per byte, perplexity {:.4f}", name,
                s.bytes, s.nats_per_byte(), s.bits_per_byte(), s.perplexity());
}

void print_row(const std::string& name, const Score& score, uint64_t all_bytes) {
  if (score.bytes == 0) return;
  fmt::print("  {:<18} {:>10} bytes {:>6.1f} %  {:.4f}\n", name, score.bytes,
             100.0 * score.bytes / all_bytes, score.bits_per_byte());
}

void print_compressed(const std::string& compressor, const std::string& name,
                      const CompressedSize& size) {
  fmt::print("  {:<5} {:.4f}  {}  {}\n", compressor, size.bits_per_byte(),
             size.primed ? format("{:.4f}", size.primed_bits_per_byte()) : "     -", name);
}

Json score_json(const Score& s) {
  return {{"bytes", s.bytes},
          {"nats", s.nats_per_byte()},
          {"bpb", s.bits_per_byte()},
          {"ppl", s.perplexity()}};
}

Json compressed_json(const CompressedSize& size) {
  Json json = {
      {"bytes", size.bytes}, {"compressed_bytes", size.alone}, {"bpb", size.bits_per_byte()}};
  if (size.primed) {
    json["primed_compressed_bytes"] = *size.primed;
    json["primed_bpb"] = size.primed_bits_per_byte();
  }
  return json;
}

Json baseline_json(const Baseline& baseline, const std::vector<EvaluatedFile>& files) {
  Json json = {{"name", baseline.name}, {"installed", baseline.missing.empty()}};
  if (!baseline.missing.empty()) {
    json["missing"] = baseline.missing;
    return json;
  }
  json["command"] = baseline.command;
  json["files"] = Json::array();
  for (size_t i = 0; i < files.size(); ++i) {
    Json entry = {{"file", files[i].name}};
    entry.update(compressed_json(baseline.files[i]));
    json["files"].push_back(std::move(entry));
  }
  json.update(compressed_json(baseline.each));
  json["together"] = compressed_json(baseline.together);
  return json;
}

Json context_json(const Breakdown& breakdown) {
  Json rows = Json::array();
  for (const ContextScore& bucket : breakdown.by_context())
    if (bucket.score.bytes > 0)
      rows.push_back({{"first", bucket.first},
                      {"last", bucket.last},
                      {"bytes", bucket.score.bytes},
                      {"bpb", bucket.score.bits_per_byte()}});
  return rows;
}

Json kind_json(const Breakdown& breakdown) {
  Json rows = Json::array();
  for (ByteKind kind : kKinds)
    if (const Score& score = breakdown.of(kind); score.bytes > 0)
      rows.push_back(
          {{"kind", name_of(kind)}, {"bytes", score.bytes}, {"bpb", score.bits_per_byte()}});
  return rows;
}

}  // namespace

void print_file(const EvaluatedFile& file) {
  fmt::print("{}\n", score_text(file.name, file.score));
}

void print_worst_files(const Evaluation& evaluation) {
  std::vector<EvaluatedFile> worst = evaluation.files;
  std::stable_sort(worst.begin(), worst.end(), [](const EvaluatedFile& a, const EvaluatedFile& b) {
    return a.score.bits_per_byte() > b.score.bits_per_byte();
  });
  worst.resize(std::min(worst.size(), kNamedFiles));
  fmt::print("the {} worst of {} files (--verbose prints all):\n", worst.size(),
             evaluation.files.size());
  for (const EvaluatedFile& file : worst) print_file(file);
}

void print_total(const Evaluation& evaluation) {
  if (!evaluation.interval) return;
  fmt::print("{}; 95 % interval over {} files {:.4f} to {:.4f} bits per byte\n",
             score_text("total", evaluation.total), evaluation.files.size(),
             evaluation.interval->low, evaluation.interval->high);
}

void print_breakdown(const Breakdown& breakdown) {
  uint64_t all = 0;
  for (const ContextScore& bucket : breakdown.by_context()) all += bucket.score.bytes;
  fmt::print("bits per byte by kind of byte\n");
  for (ByteKind kind : kKinds) print_row(name_of(kind), breakdown.of(kind), all);
  fmt::print("bits per byte by visible context\n");
  for (const ContextScore& bucket : breakdown.by_context())
    print_row(format("{} to {} bytes", bucket.first, bucket.last), bucket.score, all);
}

void print_baselines(const Evaluation& evaluation) {
  fmt::print("compressors, bits per byte\n  {:<5} {:<6}  {:<6}\n", "", "alone", "primed");
  for (const Baseline& baseline : evaluation.baselines) {
    if (!baseline.missing.empty()) {
      fmt::print("  {:<5} {}\n", baseline.name, baseline.missing);
      continue;
    }
    if (baseline.files.size() <= kMostPrimedFiles)
      for (size_t i = 0; i < baseline.files.size(); ++i)
        print_compressed(baseline.name, evaluation.files[i].name, baseline.files[i]);
    if (baseline.files.size() > 1) {
      print_compressed(baseline.name, "all files, each by itself", baseline.each);
      print_compressed(baseline.name, "all files as one text", baseline.together);
    }
    fmt::print("        {}\n", baseline.command);
  }
}

void print_shared_shingles(const Evaluation& evaluation) {
  if (!evaluation.shared) return;
  fmt::print("{:.2f} % of all runs of {} bytes occur in the training files\n",
             100 * evaluation.shared->share(), ShingleIndex::kLength);
}

void warn_of_shared_shingles(const Evaluation& evaluation) {
  if (!evaluation.shared) return;
  if (evaluation.shared->share() > kMostShared)
    spdlog::warn(
        "{:.1f} % of all runs of {} bytes occur in the training files: the score says how well "
        "the model remembers, not only how well it predicts",
        100 * evaluation.shared->share(), ShingleIndex::kLength);
  size_t copies = 0;
  for (const EvaluatedFile& file : evaluation.files)
    if (file.shared.share() > kMostSharedOfFile && ++copies <= kNamedFiles)
      spdlog::warn("{}: {:.1f} % of it occurs in the training files; leave it out", file.name,
                   100 * file.shared.share());
  if (copies > kNamedFiles)
    spdlog::warn("so it is of {} more files (--json has all)", copies - kNamedFiles);
}

Json evaluation_json(const Evaluation& evaluation) {
  Json files = Json::array();
  for (const EvaluatedFile& file : evaluation.files) {
    Json entry = {{"file", file.name}};
    entry.update(score_json(file.score));
    if (evaluation.shared) entry["shared_shingles"] = file.shared.share();
    files.push_back(std::move(entry));
  }
  Json json = {{"files", files}};
  json.update(score_json(evaluation.total));
  json["bytes_per_s"] = evaluation.total.bytes / evaluation.seconds;
  if (evaluation.interval) json["bpb_ci95"] = {evaluation.interval->low, evaluation.interval->high};
  if (evaluation.shared) json["shared_shingles"] = evaluation.shared->share();
  json["by_position"] = context_json(evaluation.breakdown);
  json["by_kind"] = kind_json(evaluation.breakdown);
  if (!evaluation.baselines.empty()) {
    json["baselines"] = Json::array();
    for (const Baseline& baseline : evaluation.baselines)
      json["baselines"].push_back(baseline_json(baseline, evaluation.files));
  }
  return json;
}

}  // namespace axl
