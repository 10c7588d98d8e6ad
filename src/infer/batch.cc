#include "axl/infer/batch.h"

#include <algorithm>

namespace axl {
namespace {

Cache new_cache(const Model& model, int64_t sequences, Arena& arena) {
  const ModelConfig& config = model.config();
  return Cache(arena, model.weights(), config.n_heads, sequences, config.max_seq_len);
}

size_t cache_bytes(const Model& model, int64_t sequences) {
  Arena measure;
  new_cache(model, sequences, measure);
  return measure.used();
}

// Each text may complete ⌈count / factor⌉ tokens of a scale in one pass, where Activations plans
// ⌈rows / factor⌉ for all of them, and read as many tokens again as a group of the largest has.
int64_t planned_rows(const ModelConfig& config, int64_t sequences, int64_t rows) {
  return rows + std::min(sequences, rows) * (2 * config.max_factor() - 1);
}

}  // namespace

Batch::Batch(const Model& model, int64_t sequences, int64_t rows)
    : model_(model),
      tokens_(sequences),
      complete_from_(sequences),
      cache_memory_(cache_bytes(model, sequences)),
      activations_(model.config(), planned_rows(model.config(), sequences, rows),
                   Activations::Mode::kInference) {
  Arena arena(cache_memory_.data(), cache_memory_.bytes());
  cache_ = new_cache(model, sequences, arena);
}

void Batch::copy_prefix(int64_t from, int64_t to, int64_t length) {
  const std::vector<int32_t>& source = tokens_[from];
  AXL_CHECK(from != to && length <= static_cast<int64_t>(source.size()));
  tokens_[to].assign(source.begin(), source.begin() + length);
  complete_from_[to] = complete_from_[from];
  cache_.copy_prefix(model_.weights(), from, to, length);
}

// What a text of `length` tokens must read from: what follows, or where its last token of each
// scale ends, if it was not the last when it was read.
int64_t Batch::first_to_read(int64_t sequence, int64_t length) const {
  int64_t first = length;
  if (length >= complete_from_[sequence]) return first;
  for (const int64_t factor : model_.config().downsample_factors)
    if (factor > 1 && length >= factor) first = std::min(first, length / factor * factor - 1);
  return first;
}

void Batch::read(std::span<const Portion> portions) {
  Segments segments;
  std::vector<int64_t> wanted;
  ids_.clear();
  for (const Portion& p : portions) {
    std::vector<int32_t>& text = tokens_[p.sequence];
    const auto before = static_cast<int64_t>(text.size());
    text.insert(text.end(), p.tokens.begin(), p.tokens.end());
    const auto length = static_cast<int64_t>(text.size());
    AXL_CHECK(!p.tokens.empty() && length <= model_.config().max_seq_len);
    const int64_t first = first_to_read(p.sequence, before);
    segments.push_back({static_cast<int64_t>(ids_.size()), first, length - first});
    ids_.insert(ids_.end(), text.begin() + first, text.end());
    wanted.push_back(p.wanted);
    int64_t& complete_from = complete_from_[p.sequence];
    if (complete_from > before || p.wanted < length - before) complete_from = length - p.wanted + 1;
  }
  activations_.lay_out(segments, wanted);
  model_.forward(ids_, activations_, cache_of(portions));
}

// The places of those that take part, in their order.
const Cache* Batch::cache_of(std::span<const Portion> portions) {
  bool all = static_cast<int64_t>(portions.size()) == sequences();
  for (size_t i = 0; all && i < portions.size(); ++i)
    all = portions[i].sequence == static_cast<int64_t>(i);
  if (all) return &cache_;
  std::vector<int64_t> sequences;
  for (const Portion& p : portions) sequences.push_back(p.sequence);
  selected_ = cache_.select(model_.weights(), sequences);
  return &selected_;
}

Mat Batch::logits() {
  model_.logits(activations_);
  return activations_.logits.row_range(0, activations_.output_rows(0));
}

}  // namespace axl
