#include "axl/model/activations.h"

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/kernels/attention.h"
#include "axl/model/lookup.h"

namespace axl {
namespace {

// Tokens of a coarser scale that end among `rows` bytes of one sequence, at most.
int64_t coarse_rows(int64_t rows, int64_t factor) { return (rows + factor - 1) / factor; }

}  // namespace

Cache::Cache(Arena& arena, const Weights& weights, int64_t sequences, int64_t capacity) {
  const int64_t d = weights.tok_embd.cols;
  const auto place = [&](int64_t factor, int64_t width) {
    PerSequence matrices(sequences);
    for (Mat& m : matrices) m = arena.matrix(capacity / factor, width);
    return matrices;
  };
  if (!weights.tables.empty())
    for (int64_t i = 0; i < sequences; ++i)
      ids.push_back(static_cast<int32_t*>(arena.allocate(sizeof(int32_t) * capacity)));
  embedded = place(1, d);
  for (const Weights::Scale& s : weights.scales) {
    stack.emplace_back();
    for (size_t layer = 0; layer < s.stack.size(); ++layer)
      stack.back().push_back(place(s.factor, 2 * d));
    slots.push_back(s.factor > 1 ? place(s.factor, s.factor * d) : PerSequence());
  }
  for (const std::vector<Weights::Pair>& layer : weights.cross) {
    cross.emplace_back();
    for (const Weights::Pair& p : layer)
      cross.back().push_back(place(weights.scales[p.source].factor, 2 * d));
  }
}

Activations::Activations(const ModelConfig& config, int64_t max_rows, Mode mode)
    : memory_(required_bytes(config, max_rows, mode)) {
  Arena arena(memory_.data(), memory_.bytes());
  plan(arena, config, max_rows, mode);
}

size_t Activations::required_bytes(const ModelConfig& config, int64_t max_rows, Mode mode) {
  Activations measured;
  Arena arena;
  measured.plan(arena, config, max_rows, mode);
  return arena.used();
}

void Activations::plan(Arena& arena, const ModelConfig& c, int64_t max_rows, Mode mode) {
  const int64_t d = c.d_model, f = c.d_ff, scales = c.n_scales();
  factors_ = c.downsample_factors;
  max_rows_ = max_rows;
  const auto per_scale = [&](auto&& width) {
    std::vector<Mat> matrices;
    for (int64_t s : factors_) matrices.push_back(arena.matrix(coarse_rows(max_rows, s), width(s)));
    return matrices;
  };
  const auto narrow = [d](int64_t) { return d; };
  const auto wide = [d](int64_t s) { return s > 1 ? s * d : 0; };

  for (size_t i = 0; i < lookups(c).size(); ++i)
    lookup_rows.push_back(static_cast<int32_t*>(arena.allocate(sizeof(int32_t) * max_rows)));
  groups = per_scale(wide);
  slots = per_scale(wide);
  const int64_t cross_layers = scales > 1 ? c.n_cross_attn_layers : 0;
  for (int64_t layer = 0; layer <= cross_layers; ++layer) states.push_back(per_scale(narrow));
  plan_blocks(arena, c, max_rows, mode);
  plan_cross(arena, c, max_rows, mode);
  fusion = Fusion::Saved(arena, max_rows, scales);
  fused = arena.matrix(max_rows, d);
  head_rstd = arena.matrix(max_rows, 1);
  logits = arena.matrix(max_rows, kVocab);
  nll = arena.matrix(max_rows, 1);
  kl = arena.matrix(max_rows, 1);

  scratch.normed = arena.matrix(max_rows, d);
  scratch.d_normed = arena.matrix(max_rows, d);  // cross-scale blocks use it in forward too
  scratch.d_branch = arena.matrix(max_rows, d);
  scratch.act = arena.matrix(max_rows, f);
  scratch.attention = arena.matrix(max_threads(), attention_scratch(c.max_seq_len));
  if (mode == Mode::kInference) return;
  d_states = per_scale(narrow);
  d_before = per_scale(narrow);
  d_wide = per_scale(wide);
  d_fused = arena.matrix(max_rows, d);
  d_fine = arena.matrix(max_rows, d);
  scratch.d_residual = arena.matrix(max_rows, d);
  scratch.d_gate_up = arena.matrix(max_rows, 2 * f);
  scratch.d_qkv = arena.matrix(max_rows, 3 * d);
  scratch.partials = arena.matrix(kPartials, std::max(d, scales * scales * d));
}

void Activations::plan_blocks(Arena& arena, const ModelConfig& c, int64_t max_rows, Mode mode) {
  const auto saved = [&](int64_t rows) {
    return Block::Saved(arena, rows, c.d_model, c.n_heads, c.d_ff);
  };
  const Block::Saved shared = mode == Mode::kInference ? saved(max_rows) : Block::Saved();
  for (size_t s = 0; s < factors_.size(); ++s) {
    const int64_t rows = coarse_rows(max_rows, factors_[s]);
    blocks.emplace_back();
    for (int64_t layer = 0; layer < c.layers(s); ++layer) {
      blocks[s].push_back(mode == Mode::kInference ? shared.first_rows(rows) : saved(rows));
      if (mode == Mode::kInference) blocks[s].back().x = states[0][s];  // works in place
    }
  }
}

void Activations::plan_cross(Arena& arena, const ModelConfig& c, int64_t max_rows, Mode mode) {
  const auto saved = [&](int64_t rows, int64_t source_rows) {
    return CrossBlock::Saved(arena, rows, source_rows, c.d_model, c.n_heads, c.d_ff);
  };
  CrossBlock::Saved shared;
  if (mode == Mode::kInference && states.size() > 1) shared = saved(max_rows, max_rows);
  const Weights shapes(c);
  for (const std::vector<Weights::Pair>& layer : shapes.cross) {
    cross.emplace_back();
    for (const Weights::Pair& p : layer) {
      const int64_t rows = coarse_rows(max_rows, factors_[p.target]);
      const int64_t from = coarse_rows(max_rows, factors_[p.source]);
      cross.back().push_back(mode == Mode::kInference ? shared.first_rows(rows, from)
                                                      : saved(rows, from));
    }
  }
}

void Activations::lay_out(const Segments& new_bytes) {
  AXL_CHECK(total_rows(new_bytes) <= max_rows_);
  bytes = new_bytes;
  segments.clear();
  for (int64_t s : factors_) segments.push_back(at_scale(bytes, s));
}

}  // namespace axl
