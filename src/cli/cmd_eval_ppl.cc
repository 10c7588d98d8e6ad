#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/infer/causality.h"
#include "axl/infer/perplexity.h"
#include "axl/model/checkpoint.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/signals.h"

namespace axl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Options {
  std::vector<std::string> files;
  std::string per_byte;
};

Json score_json(const Score& s) {
  return {{"bytes", s.bytes},
          {"nats", s.nats_per_byte()},
          {"bpb", s.bits_per_byte()},
          {"ppl", s.perplexity()}};
}

void print_score(const std::string& name, const Score& s) {
  fmt::print("{}: {} bytes, {:.4f} nats per byte, {:.4f} bits per byte, perplexity {:.4f}\n", name,
             s.bytes, s.nats_per_byte(), s.bits_per_byte(), s.perplexity());
}

void write_rows(AtomicFile& csv, std::string_view text, uint64_t offset,
                std::span<const float> nats) {
  std::string rows;
  for (size_t i = 0; i < nats.size(); ++i)
    rows +=
        format("{},{},{:.6f}\n", offset + i, static_cast<unsigned char>(text[offset + i]), nats[i]);
  csv.write(rows);
}

/// Scores one file, showing how far it is.
Score score_file(Scorer& scorer, const std::string& name, AtomicFile* csv, Progress& progress) {
  const MappedFile file(name);
  if (file.bytes().empty()) throw Error(format("{}: the file is empty: nothing to score", name));
  const Clock::time_point begin = Clock::now();
  Score so_far;
  const Score score = scorer.score(file.bytes(), [&](uint64_t offset, std::span<const float> nats) {
    if (csv) write_rows(*csv, file.bytes(), offset, nats);
    for (float n : nats) so_far.nats += n;
    so_far.bytes += nats.size();
    const double rate = so_far.bytes / seconds_since(begin);
    const double left = (file.bytes().size() - so_far.bytes) / rate;
    progress.update(format("{}: {} of {}, {:.3f} bpb so far, {}/s, {} left", name,
                           human_bytes(double(so_far.bytes)),
                           human_bytes(double(file.bytes().size())), so_far.bits_per_byte(),
                           human_bytes(rate), human_seconds(left)));
    return stop_signal() == 0;
  });
  if (!stop_signal() && !std::isfinite(score.nats))
    throw Error(
        format("{}: the model's score is not a finite number; its weights are damaged or "
               "far too large",
               name));
  return score;
}

int eval_ppl(const Options& o, const Globals& globals) {
  for (const std::string& name : o.files) MappedFile check(name);  // before the long work
  const Model model = load_model(resolve_model(globals.model));
  check_causality(model);
  std::optional<AtomicFile> csv;
  if (!o.per_byte.empty()) csv.emplace(o.per_byte).write("offset,byte,nats\n");

  catch_stop_signals();
  Scorer scorer(model);
  Score total;
  Json files = Json::array();
  const Clock::time_point begin = Clock::now();
  {
    Progress progress(globals.quiet);
    for (const std::string& name : o.files) {
      const Score score = score_file(scorer, name, csv ? &*csv : nullptr, progress);
      if (stop_signal()) return 128 + stop_signal();
      total += score;
      if (globals.json) {
        Json entry = {{"file", name}};
        entry.update(score_json(score));
        files.push_back(std::move(entry));
      } else {
        clear_progress_line();
        print_score(name, score);
      }
    }
  }
  if (csv) csv->commit();
  if (globals.json) {
    Json json = {{"files", files}};
    json.update(score_json(total));
    json["bytes_per_s"] = total.bytes / seconds_since(begin);
    print_json(json);
  } else if (o.files.size() > 1) {
    print_score("total", total);
  }
  return kExitDone;
}

}  // namespace

Action setup_eval_ppl(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<Options>();
  app.add_option("files", o->files, "Files to score, each as one document")
      ->type_name("FILE")
      ->required();
  app.add_option("--per-byte", o->per_byte,
                 "Write a CSV file with a row per byte: offset,byte,nats (with several files, one "
                 "after the other)")
      ->type_name("OUT.csv");
  return [o, &globals] { return eval_ppl(*o, globals); };
}

}  // namespace axl
