#include "axl/model/activations.h"

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/kernels/attention.h"
#include "axl/model/lookup.h"

namespace axl {
namespace {

// Tokens of a coarser scale that end among `rows` bytes of one sequence, at most.
int64_t coarse_rows(int64_t rows, int64_t factor) { return (rows + factor - 1) / factor; }

KeyValues room_for_keys(Arena& arena, const Weights& weights, int64_t rows, int64_t width) {
  KeyValues room;
  if (weights.are_coded)
    room.i8 = arena.scaled_matrix(rows, width);
  else
    room.f32 = arena.matrix(rows, width);
  return room;
}

}  // namespace

template <class Visit>
void Cache::for_each_place(const Weights& weights, const Visit& visit) {
  const int64_t d = weights.tok_embd.cols;
  visit(embedded, 1, d);
  for (size_t s = 0; s < weights.scales.size(); ++s) {
    const int64_t factor = weights.scales[s].factor;
    for (KeysPerSequence& place : stack[s]) visit(place, factor, d / heads_);
    if (factor > 1) visit(slots[s], factor, factor * d);
  }
  for (size_t layer = 0; layer < weights.cross.size(); ++layer)
    for (size_t i = 0; i < weights.cross[layer].size(); ++i)
      visit(cross[layer][i], weights.scales[weights.cross[layer][i].source].factor, d / heads_);
}

Cache::Cache(Arena& arena, const Weights& weights, int64_t heads, int64_t sequences,
             int64_t capacity)
    : slots(weights.scales.size()), heads_(heads) {
  for (const Weights::Scale& s : weights.scales) stack.emplace_back(s.stack.size());
  for (const std::vector<Weights::Pair>& layer : weights.cross) cross.emplace_back(layer.size());
  if (!weights.tables.empty())
    for (int64_t i = 0; i < sequences; ++i)
      ids.push_back(static_cast<int32_t*>(arena.allocate(sizeof(int32_t) * capacity)));
  for_each_place(weights,
                 [&]<class Place>(std::vector<Place>& place, int64_t factor, int64_t width) {
                   const int64_t tokens = capacity / factor, rows = 2 * heads * tokens;
                   for (int64_t i = 0; i < sequences; ++i)
                     if constexpr (std::is_same_v<Place, Mat>)
                       place.push_back(arena.matrix(tokens, width));
                     else
                       place.push_back(room_for_keys(arena, weights, rows, width));
                 });
}

Cache Cache::select(const Weights& weights, std::span<const int64_t> sequences) const {
  Cache chosen = *this;
  const auto pick = [&](auto& place) {
    const auto all = place;
    place.clear();
    for (const int64_t i : sequences) place.push_back(all[i]);
  };
  if (!ids.empty()) pick(chosen.ids);
  chosen.for_each_place(weights, [&](auto& place, int64_t, int64_t) { pick(place); });
  return chosen;
}

namespace {

void copy(ConstScaledMat from, ScaledMat to) {
  for (int64_t r = 0; r < from.rows; ++r)
    std::copy_n(from.codes.row(r), from.cols, to.codes.row(r));
  std::copy_n(from.scales, from.rows, to.scales);
}

// The first `count` rows of each of `parts` equal parts.
template <class Rows>
void copy_first_rows(Rows from, Rows to, int64_t parts, int64_t count) {
  const int64_t capacity = from.rows / parts;
  for (int64_t part = 0; part < parts; ++part)
    copy(from.row_range(part * capacity, count), to.row_range(part * capacity, count));
}

void copy_first_tokens(const Mat& from, const Mat& to, int64_t, int64_t count) {
  copy_first_rows(from, to, 1, count);
}
void copy_first_tokens(const KeyValues& from, const KeyValues& to, int64_t heads, int64_t count) {
  if (from.i8.scales) return copy_first_rows(from.i8, to.i8, 2 * heads, count);
  copy_first_rows(from.f32, to.f32, 2 * heads, count);
}

}  // namespace

void Cache::copy_prefix(const Weights& weights, int64_t from, int64_t to, int64_t bytes) {
  if (!ids.empty()) std::copy_n(ids[from], bytes, ids[to]);
  for_each_place(weights, [&](auto& place, int64_t factor, int64_t) {
    copy_first_tokens(place[from], place[to], heads_, bytes / factor);
  });
}

Activations::Activations(const ModelConfig& config, int64_t max_rows, Mode mode,
                         ElementType matrices)
    : memory_(required_bytes(config, max_rows, mode, matrices)) {
  Arena arena(memory_.data(), memory_.bytes());
  plan(arena, config, max_rows, mode, matrices);
}

size_t Activations::required_bytes(const ModelConfig& config, int64_t max_rows, Mode mode,
                                   ElementType matrices) {
  Activations measured;
  Arena arena;
  measured.plan(arena, config, max_rows, mode, matrices);
  return arena.used();
}

void Activations::plan(Arena& arena, const ModelConfig& c, int64_t max_rows, Mode mode,
                       ElementType matrices) {
  const int64_t d = c.d_model, scales = c.n_scales();
  factors_ = c.downsample_factors;
  max_rows_ = max_rows;
  mode_ = mode;
  const auto narrow = [d](int64_t) { return d; };

  for (size_t i = 0; i < lookups(c).size(); ++i)
    lookup_rows.push_back(static_cast<int32_t*>(arena.allocate(sizeof(int32_t) * max_rows)));
  const int64_t cross_layers = scales > 1 ? c.n_cross_attn_layers : 0;
  for (int64_t layer = 0; layer <= cross_layers; ++layer)
    states.push_back(per_scale(arena, narrow));
  if (mode == Mode::kInference) before_outputs = per_scale(arena, narrow);
  fusion = Fusion::Saved(arena, max_rows, scales);
  head_rstd = arena.matrix(max_rows, 1);
  nll = arena.matrix(max_rows, 1);
  kl = arena.matrix(max_rows, 1);
  if (mode != Mode::kInference) {
    d_states = per_scale(arena, narrow);
    d_before = per_scale(arena, narrow);
    d_fine = arena.matrix(max_rows, d);
  }
  plan_scratch(arena, c);
  if (matrices == ElementType::kBF16) widened = arena.matrix(1, floats_of_largest_part(c)).data;
  if (mode == Mode::kRecompute) {
    // What a block keeps lives from its recomputation to the end of its backward, what lies before
    // the blocks or behind them only while no block is at work.
    plan_inputs(arena, c);
    return arena.overlay([&] { plan_ends(arena, c); }, [&] { plan_blocks(arena, c); },
                         [&] { plan_cross(arena, c); });
  }
  plan_ends(arena, c);
  plan_blocks(arena, c);
  plan_cross(arena, c);
  if (mode == Mode::kInference) plan_branches(arena, c);
}

template <class Width>
std::vector<Mat> Activations::per_scale(Arena& arena, const Width& width) const {
  std::vector<Mat> matrices;
  for (int64_t s : factors_) matrices.push_back(arena.matrix(coarse_rows(max_rows_, s), width(s)));
  return matrices;
}

void Activations::plan_scratch(Arena& arena, const ModelConfig& c) {
  const int64_t d = c.d_model, f = c.d_ff, scales = c.n_scales();
  scratch.normed = arena.matrix(max_rows_, d);
  scratch.d_normed = arena.matrix(max_rows_, d);  // cross-scale blocks use it in forward too
  scratch.attention = arena.matrix(max_threads(), attention_scratch(c.max_seq_len, c.head_size()));
  if (mode_ == Mode::kInference) {
    scratch.d_branch = arena.matrix(max_rows_, d);
    scratch.act = arena.matrix(max_rows_, f);
    return;
  }
  scratch.d_residual = arena.matrix(max_rows_, d);
  scratch.partials = arena.matrix(kPartials, std::max(d, scales * scales * d));
  // Feed-forward and attention take turns.
  arena.overlay(
      [&] {
        scratch.act = arena.matrix(max_rows_, f);
        scratch.d_gate_up = arena.matrix(max_rows_, 2 * f);
      },
      [&] {
        scratch.d_branch = arena.matrix(max_rows_, d);
        scratch.d_qkv = arena.matrix(max_rows_, 3 * d);
      });
}

void Activations::plan_ends(Arena& arena, const ModelConfig& c) {
  const int64_t d = c.d_model;
  const auto wide = [d](int64_t s) { return s > 1 ? s * d : 0; };
  if (mode_ == Mode::kRecompute) {
    arena.overlay([&] { groups = per_scale(arena, wide); },  // gathered again for backward
                  [&] { slots = per_scale(arena, wide); });
  } else {
    groups = per_scale(arena, wide);
    slots = per_scale(arena, wide);
  }
  fused = arena.matrix(max_rows_, d);
  logits = arena.matrix(max_rows_, kVocab);
  if (mode_ == Mode::kInference) return;
  d_wide = per_scale(arena, wide);
  d_fused = arena.matrix(max_rows_, d);
}

void Activations::plan_inputs(Arena& arena, const ModelConfig& c) {
  for (size_t s = 0; s < factors_.size(); ++s)
    for (int64_t layer = 0; layer < c.layers(s); ++layer)
      inputs_.push_back(arena.matrix(coarse_rows(max_rows_, factors_[s]), c.d_model));
}

void Activations::plan_blocks(Arena& arena, const ModelConfig& c) {
  const auto saved = [&](int64_t rows) {
    return Block::Saved(arena, rows, c.d_model, c.n_heads, c.d_ff);
  };
  const bool share = mode_ != Mode::kTraining;
  const Block::Saved shared = share ? saved(max_rows_) : Block::Saved();
  size_t input = 0;
  for (size_t s = 0; s < factors_.size(); ++s) {
    const int64_t rows = coarse_rows(max_rows_, factors_[s]);
    blocks.emplace_back();
    for (int64_t layer = 0; layer < c.layers(s); ++layer) {
      blocks[s].push_back(share ? shared.first_rows(rows) : saved(rows));
      if (mode_ == Mode::kInference) blocks[s].back().x = states[0][s];  // works in place
      if (mode_ == Mode::kRecompute) blocks[s].back().x = inputs_[input++];
    }
  }
}

void Activations::plan_cross(Arena& arena, const ModelConfig& c) {
  const auto saved = [&](int64_t rows, int64_t source_rows) {
    return CrossBlock::Saved(arena, rows, source_rows, c.d_model, c.n_heads, c.d_ff);
  };
  const bool share = mode_ != Mode::kTraining;
  CrossBlock::Saved shared;
  if (share && states.size() > 1) shared = saved(max_rows_, max_rows_);
  const Weights shapes(c);
  for (const std::vector<Weights::Pair>& layer : shapes.cross) {
    cross.emplace_back();
    for (const Weights::Pair& p : layer) {
      const int64_t rows = coarse_rows(max_rows_, factors_[p.target]);
      const int64_t from = coarse_rows(max_rows_, factors_[p.source]);
      cross.back().push_back(share ? shared.first_rows(rows, from) : saved(rows, from));
    }
  }
}

void Activations::plan_branches(Arena& arena, const ModelConfig& c) {
  const auto add = [&](std::vector<BranchBuffers>& to, size_t count) {
    while (to.size() < count) to.emplace_back(arena, c.d_model, c.n_heads, c.d_ff);
  };
  add(scale_branches, factors_.size());
  // Scales and pairs take turns.
  pair_branches = scale_branches;
  if (states.size() > 1) add(pair_branches, factors_.size() * (factors_.size() - 1));
}

void Activations::lay_out(const Segments& new_bytes, std::span<const int64_t> wanted) {
  AXL_CHECK(total_rows(new_bytes) <= max_rows_);
  bytes = new_bytes;
  segments.clear();
  for (int64_t s : factors_) segments.push_back(at_scale(bytes, s));
  outputs = segments;
  if (wanted.empty()) return;
  AXL_CHECK(mode_ == Mode::kInference && wanted.size() == bytes.size());
  for (size_t scale = 0; scale < factors_.size(); ++scale) {
    int64_t row = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      AXL_CHECK(0 < wanted[i] && wanted[i] <= bytes[i].count);
      // Byte n reads the last token that has ended by then, the one before (n + 1) / factor.
      const Segment& all = segments[scale][i];
      const int64_t first = bytes[i].end() - wanted[i];
      const int64_t begin = std::max(all.begin, (first + 1) / factors_[scale] - 1);
      outputs[scale][i] = {row, begin, all.end() - begin};
      row += all.end() - begin;
    }
  }
}

Mat Activations::outputs_of(int64_t scale, Mat states) const {
  const int64_t count = output_rows(scale);
  if (count == rows(scale)) return states.row_range(0, count);
  const Mat to = before_outputs[scale];
  for (size_t i = 0; i < bytes.size(); ++i) {
    const Segment &all = segments[scale][i], &o = outputs[scale][i];
    copy(states.row_range(all.row + o.begin - all.begin, o.count), to.row_range(o.row, o.count));
  }
  return to.row_range(0, count);
}

}  // namespace axl
