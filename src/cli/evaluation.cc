#include "cli/evaluation.h"

#include <chrono>
#include <cmath>
#include <filesystem>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/data/corpus.h"
#include "axl/train/config.h"
#include "cli/signals.h"

namespace axl {
namespace {

void write_rows(AtomicFile& csv, std::string_view text, uint64_t offset,
                std::span<const float> nats) {
  std::string rows;
  for (size_t i = 0; i < nats.size(); ++i)
    rows +=
        format("{},{},{:.6f}\n", offset + i, static_cast<unsigned char>(text[offset + i]), nats[i]);
  csv.write(rows);
}

/// "a.py: 3 KiB of 9 KiB, 2.1 bpb so far, 8 KiB/s, 1.2s left"
std::string progress_line(const std::string& name, const Score& so_far, uint64_t all,
                          Clock::time_point begin) {
  const double rate = so_far.bytes / seconds_since(begin);
  return format("{}: {} of {}, {:.3f} bpb so far, {}/s, {} left", name,
                human_bytes(double(so_far.bytes)), human_bytes(double(all)), so_far.bits_per_byte(),
                human_bytes(rate), human_seconds((all - so_far.bytes) / rate));
}

/// Scores one file, showing how far it is.
Score score_file(Scorer& scorer, const std::string& name, Breakdown& breakdown, AtomicFile* csv,
                 Progress& progress) {
  const MappedFile file(name);
  const std::string_view text = file.bytes();
  if (text.empty()) throw Error(format("{}: the file is empty: nothing to score", name));
  const std::vector<ByteKind> kinds = classify_bytes(text, comments_of(name));
  const Clock::time_point begin = Clock::now();
  Score so_far;
  const Score score = scorer.score(text, [&](uint64_t offset, std::span<const float> nats) {
    if (csv) write_rows(*csv, text, offset, nats);
    breakdown.add(scorer.context_of(offset), nats, std::span(kinds).subspan(offset, nats.size()));
    for (float n : nats) so_far += {1, n};
    progress.update(progress_line(name, so_far, text.size(), begin));
    return stop_signal() == 0;
  });
  if (!stop_signal() && !std::isfinite(score.nats))
    throw Error(
        format("{}: the model's score is not a finite number; its weights are damaged or "
               "far too large",
               name));
  return score;
}

}  // namespace

std::vector<std::string> expand_paths(const std::vector<std::string>& paths) {
  const std::vector<std::string> suffixes = TrainConfig().suffixes;
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (std::filesystem::is_directory(path)) {
      for (const CorpusFile& file : find_corpus_files({&path, 1}, suffixes))
        files.push_back(file.path.string());
    } else {
      MappedFile check(path);  // before the long work
      files.push_back(path);
    }
  }
  return files;
}

Evaluation score_files(const Model& model, Head head, const std::vector<std::string>& files,
                       AtomicFile* csv, Progress& progress,
                       const std::function<void(const EvaluatedFile&)>& on_file) {
  Scorer scorer(model, head);
  Evaluation evaluation(model.config().max_seq_len);
  std::vector<Score> scores;
  const Clock::time_point begin = Clock::now();
  for (const std::string& name : files) {
    scores.push_back(score_file(scorer, name, evaluation.breakdown, csv, progress));
    if (stop_signal()) return evaluation;
    evaluation.files.push_back({name, scores.back(), {}});
    evaluation.total += scores.back();
    on_file(evaluation.files.back());
  }
  evaluation.seconds = seconds_since(begin);
  if (scores.size() > 1) evaluation.interval = bits_per_byte_interval(scores);
  return evaluation;
}

void find_shared_shingles(Evaluation& evaluation, const std::vector<std::string>& training_files,
                          Progress& progress) {
  std::vector<MappedFile> mapped;
  std::vector<std::string_view> texts;
  for (const EvaluatedFile& file : evaluation.files)
    texts.push_back(mapped.emplace_back(file.name).bytes());
  ShingleIndex index(texts);
  for (size_t i = 0; i < training_files.size() && !stop_signal(); ++i) {
    progress.update(format("comparing with training file {} of {}", i + 1, training_files.size()));
    mark_training_file(index, training_files[i]);
  }
  evaluation.shared.emplace();
  for (size_t i = 0; i < texts.size(); ++i) {
    evaluation.files[i].shared = index.shared(texts[i]);
    *evaluation.shared += evaluation.files[i].shared;
  }
}

}  // namespace axl
