#include "axl/model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "axl/base/hash.h"
#include "axl/base/parallel.h"
#include "axl/base/rng.h"
#include "axl/formats/block_codec.h"
#include "axl/kernels/gemm.h"
#include "axl/tensor/half.h"
#include "widened.h"

namespace axl {
namespace {

template <class Place>
std::span<const Place> all(const std::vector<Place>& place) {
  return place;
}

/// The tokens of each scale that a cross-scale layer adds to: all, by the last layer those that
/// something reads.
struct Targets {
  const std::vector<Segments>* tokens;
  std::vector<Mat> before, after;

  // `after` begins as copies of `before`.
  Targets(size_t layer, const Activations& a) {
    const bool is_last = layer + 2 == a.states.size();
    tokens = is_last ? &a.outputs : &a.segments;
    for (size_t s = 0; s < a.segments.size(); ++s) {
      const Mat all = a.states[layer][s];
      before.push_back(is_last ? a.outputs_of(s, all) : all.row_range(0, a.rows(s)));
      after.push_back(a.states[layer + 1][s].row_range(0, before[s].rows));
      copy(before[s], after[s]);
    }
  }
};

/// The outputs of a scale [R, D]; the last cross-scale layer, where there is one, left nothing
/// else.
Mat output_states(const Activations& a, int64_t scale) {
  const Mat last = a.states.back()[scale];
  return a.states.size() > 1 ? last.row_range(0, a.output_rows(scale)) : a.outputs_of(scale, last);
}

/// Bytes of what a pass reads whole: of embedding tables it reads a row each.
int64_t bytes_read(const StoredParameters& stored, const std::vector<Parameter>& parameters) {
  int64_t bytes = 0;
  for (size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].role != Role::kTable) bytes += stored.parameters[i].bytes();
  return bytes;
}

}  // namespace

Model::Model(const ModelConfig& config, ElementType matrices)
    : Model(config, Recall(config.recall)) {
  AXL_CHECK(matrices == ElementType::kF32 || matrices == ElementType::kBF16);
  const int64_t halves =
      matrices == ElementType::kBF16 ? bf16_parameter_count(parameters_) : int64_t{0};
  bf16_memory_ = Buffer(sizeof(uint16_t) * halves);
  memory_ = Buffer(sizeof(float) * (parameter_count() - halves));
  auto* half = static_cast<uint16_t*>(bf16_memory_.data());
  float* whole = memory_.floats();
  std::vector<PackedMatrix> places;
  for (const Parameter& p : parameters_) {
    const bool is_half = halves > 0 && may_be_bf16(p.role);
    const void* data = is_half ? static_cast<const void*>(half) : whole;
    places.push_back({is_half ? ElementType::kBF16 : ElementType::kF32,
                      static_cast<const std::byte*>(data), p.rows, p.cols});
    values_.push_back(is_half ? ParameterValues{nullptr, half} : ParameterValues{whole, nullptr});
    half += is_half ? p.size() : 0;
    whole += is_half ? 0 : p.size();
  }
  weights_.bind(places);
}

Model::Model(const ModelConfig& config, StoredParameters stored)
    : Model(config, Recall(config.recall, stored.slots)) {
  stored_ = std::move(stored);
  weights_.bind(stored_.parameters);
  constexpr int64_t kCache = 16 << 20;  // of a Ryzen 5 5600G
  fits_in_cache_ = bytes_read(stored_, parameters_) <= kCache;
}

// What both have: everything but parameters.
Model::Model(const ModelConfig& config, Recall recall)
    : config_((config.validate(), config)),
      parameters_(parameter_table(config)),
      weights_(config),
      recall_(std::move(recall)),
      lookups_(lookups(config)) {
  const int64_t positions = config_.max_seq_len, half = config_.head_size() / 2;
  rope_memory_ = Buffer(2 * sizeof(float) * positions * half);
  rope_ = {Mat(rope_memory_.floats(), positions, half),
           Mat(rope_memory_.floats() + positions * half, positions, half)};
  fill_rope_table(config_.rope_theta, rope_);
}

void Model::init(uint64_t seed) {
  constexpr double kStd = 0.02;
  const double depth = config_.max_layers() + config_.n_cross_attn_layers;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    const ParameterValues values = values_[i];
    if (p.role == Role::kTable || p.role == Role::kVotes) {
      // Rows without text behind them say nothing.
      std::memset(values.f32, 0, sizeof(float) * p.size());
      continue;
    }
    Rng rng(seed, i);  // a stream of its own: one tensor's size does not shift another's values
    const double std = p.role == Role::kResidualOutput ? kStd / std::sqrt(2 * depth) : kStd;
    for (int64_t j = 0; j < p.size(); ++j) {
      const float value = p.role == Role::kGain   ? 1.0f
                          : p.role == Role::kGate ? 0.0f
                                                  : static_cast<float>(std * rng.normal());
      if (values.bf16)
        values.bf16[j] = to_bf16(value);
      else
        values.f32[j] = value;
    }
  }
}

std::span<float> Model::f32_values() const {
  return {memory_.floats(), memory_.bytes() / sizeof(float)};
}

std::span<uint16_t> Model::bf16_values() const {
  return {static_cast<uint16_t*>(bf16_memory_.data()), bf16_memory_.bytes() / sizeof(uint16_t)};
}

void Model::assign(const Model& other) {
  AXL_CHECK(other.parameter_count() == parameter_count());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const float* from = other.data() + parameters_[i].offset;
    const int64_t count = parameters_[i].size();
    if (values_[i].f32)
      std::copy_n(from, count, values_[i].f32);
    else
      std::transform(from, from + count, values_[i].bf16, [](float x) { return to_bf16(x); });
  }
}

int64_t Model::floats_of(ParameterRange range) const {
  const Parameter& last = parameters_[range.end - 1];
  return last.offset + last.size() - parameters_[range.first].offset;
}

uint64_t Model::checksum() const {
  Hasher hasher;
  hasher.update(to_json(config_));
  hasher.update(f32_values().data(), f32_values().size_bytes());
  hasher.update(bf16_values().data(), bf16_values().size_bytes());
  for (const PackedMatrix& p : stored_.parameters) hasher.update(p.data, p.bytes());
  for (size_t i = 0; i < recall_.orders().size(); ++i)
    hasher.update(recall_.data(i), sizeof(uint32_t) * recall_.slots());
  return hasher.digest();
}

bool Model::waits_for_memory() const {
  constexpr int64_t kMore = int64_t{128} << 20;  // than the last cache of any desktop
  return weights_.are_coded && bytes_read(stored_, parameters_) > kMore;
}

int64_t Model::few_rows() { return kFewRows; }

int64_t Model::rows_alike() const {
  return weights_.are_coded ? kFewRows : std::min(kFewRows, detail::few_rows());
}

void Model::forward(std::span<const int32_t> ids, Activations& a, const Cache* cache) const {
  embed(ids, a, cache);
  if (cache && a.rows(0) <= kFewRows && weights_.are_coded) {
    run_stacks_side_by_side(a, *cache);
    for (size_t layer = 0; layer < weights_.cross.size(); ++layer)
      run_cross_side_by_side(layer, a, *cache);
  } else {
    for (int64_t s = 0; s < config_.n_scales(); ++s) run_stack(s, a, cache);
    for (size_t layer = 0; layer < weights_.cross.size(); ++layer) run_cross(layer, a, cache);
  }
  fuse(a, cache);
}

void Model::embed(std::span<const int32_t> ids, Activations& a, const Cache* cache) const {
  const int64_t rows = a.rows(0);
  AXL_CHECK(static_cast<int64_t>(ids.size()) == rows);
  const Mat x = a.blocks[0][0].x.row_range(0, rows);
  if (weights_.tok_embd.is_packed())
    for (int64_t r = 0; r < rows; ++r) decode_row(weights_.tok_embd.packed[0], ids[r], x.row(r));
  else
    gather_rows(weights_.tok_embd, ids, x);
  look_up(ids, a, cache);
  for (size_t t = 0; t < lookups_.size(); ++t) {
    const Weight& table = weights_.tables[t];
    const std::span<const int32_t> table_rows(a.lookup_rows[t], rows);
    if (table.is_packed())
      gather_add_packed_rows(table.packed[0], table_rows, x);
    else
      gather_add_rows(table, table_rows, x);
  }
  for (size_t i = 0; cache && i < cache->embedded.size(); ++i) {
    const Segment& s = a.bytes[i];
    copy(x.row_range(s.row, s.count), cache->embedded[i].row_range(s.begin, s.count));
  }
  for (int64_t s = 1; s < config_.n_scales(); ++s) {
    if (a.rows(s) == 0) continue;
    const Mat groups = a.groups[s].row_range(0, a.rows(s));
    gather_groups(x, a.bytes, a.segments[s], weights_.scales[s].factor,
                  cache ? all(cache->embedded) : std::span<const Mat>(), groups);
    widened(weights_.scales[s].down, a)
        .forward(groups, a.blocks[s][0].x.row_range(0, a.rows(s)), a.scratch.precision);
  }
}

AttentionPlan Model::stack_plan(int64_t scale, const Activations& a) const {
  const int64_t factor = weights_.scales[scale].factor;
  const Segments* tokens = &a.segments[scale];
  return {config_.n_heads, &rope_, tokens, tokens, factor, factor, false, config_.attention_window};
}

AttentionPlan Model::cross_plan(const Weights::Pair& p, const std::vector<Segments>& targets,
                                const Activations& a) const {
  return {config_.n_heads,
          &rope_,
          &targets[p.target],
          &a.segments[p.source],
          weights_.scales[p.target].factor,
          weights_.scales[p.source].factor,
          true,
          config_.attention_window};
}

void Model::run_stack(int64_t scale, Activations& a, const Cache* cache) const {
  const int64_t rows = a.rows(scale);
  if (rows == 0) return;
  const AttentionPlan plan = stack_plan(scale, a);
  const std::vector<Block>& stack = weights_.scales[scale].stack;
  const float eps = static_cast<float>(config_.norm_eps);
  for (size_t i = 0; i < stack.size(); ++i) {
    const Block::Saved saved = a.blocks[scale][i].first_rows(rows);
    const Mat y = i + 1 < stack.size() ? a.blocks[scale][i + 1].x : a.states[0][scale];
    widened(stack[i], a)
        .forward(plan, eps, saved, y.row_range(0, rows),
                 cache ? all(cache->stack[scale][i]) : std::span<const KeyValues>(), a.scratch);
  }
}

void Model::run_cross(int64_t layer, Activations& a, const Cache* cache) const {
  const Targets targets(layer, a);
  for (size_t i = 0; i < weights_.cross[layer].size(); ++i) {
    const Weights::Pair& p = weights_.cross[layer][i];
    const Mat x = targets.before[p.target], source = a.states[layer][p.source];
    const int64_t source_rows = a.rows(p.source);
    if (x.rows == 0 && source_rows == 0) continue;
    CrossBlock::Saved& saved = a.cross[layer][i];
    saved.x = x;
    saved.source = source;
    CrossBlock::Saved now = saved.first_rows(x.rows, source_rows);
    widened(p.block, a)
        .forward(cross_plan(p, *targets.tokens, a), static_cast<float>(config_.norm_eps), now,
                 targets.after[p.target],
                 cache ? all(cache->cross[layer][i]) : std::span<const KeyValues>(), a.scratch);
  }
}

void Model::run_stacks_side_by_side(Activations& a, const Cache& cache) const {
  const float eps = static_cast<float>(config_.norm_eps);
  const auto branch = [&](int64_t s, int64_t layer) {
    const int64_t rows = a.rows(s);
    const Block& block = weights_.scales[s].stack[layer];
    const Mat x = a.states[0][s].row_range(0, rows);
    return Branch{&block.attn_norm,
                  &block.attn_norm,
                  &block.attn,
                  &block.ffn_norm,
                  &block.ffn,
                  stack_plan(s, a),
                  x,
                  x,
                  all(cache.stack[s][layer]),
                  a.scale_branches[s].first_rows(rows, rows),
                  x,
                  s};
  };
  std::vector<int64_t> scales;  // that have new tokens
  for (int64_t s = 0; s < config_.n_scales(); ++s)
    if (a.rows(s) > 0) scales.push_back(s);
  const auto branches = [&](int64_t layer) {
    std::vector<Branch> these;
    for (const int64_t s : scales)
      if (layer < config_.layers(s)) these.push_back(branch(s, layer));
    return these;
  };
  if (fits_in_cache_ && are_faster_apart(branches(0), config_.max_layers())) {
    return for_each_branch_apart(scales, [&](int64_t i) {
      for (int64_t layer = 0; layer < config_.layers(scales[i]); ++layer) {
        const Branch b = branch(scales[i], layer);
        forward_together({&b, 1}, eps, a.scratch);
      }
    });
  }
  for (int64_t layer = 0; layer < config_.max_layers(); ++layer)
    forward_together(branches(layer), eps, a.scratch);
}

void Model::run_cross_side_by_side(int64_t layer, Activations& a, const Cache& cache) const {
  const Targets targets(layer, a);
  std::vector<Branch> branches;
  for (size_t i = 0; i < weights_.cross[layer].size(); ++i) {
    const Weights::Pair& p = weights_.cross[layer][i];
    const Mat x = targets.before[p.target];
    const Mat source = a.states[layer][p.source].row_range(0, a.rows(p.source));
    if (x.rows == 0 && source.rows == 0) continue;
    // Of three scales and two threads, what one target reads comes to both, and what one source
    // gives.
    const auto home = p.target + static_cast<int64_t>(i);
    branches.push_back(
        {&p.block.q_norm, &p.block.kv_norm, &p.block.attn, &p.block.ffn_norm, &p.block.ffn,
         cross_plan(p, *targets.tokens, a), x, source, all(cache.cross[layer][i]),
         a.pair_branches[i].first_rows(x.rows, source.rows), targets.after[p.target], home});
  }
  const bool apart = fits_in_cache_ && are_faster_apart(branches, 1);
  (apart ? forward_apart : forward_together)(branches, static_cast<float>(config_.norm_eps),
                                             a.scratch);
}

std::vector<ScaleView> Model::scale_views(const Activations& a, const Cache* cache) const {
  std::vector<ScaleView> views;
  for (int64_t s = 0; s < config_.n_scales(); ++s) {
    const Mat rows = s == 0 ? output_states(a, 0) : a.slots[s].row_range(0, a.output_rows(s));
    views.push_back({weights_.scales[s].factor, rows, &a.outputs[s],
                     cache && s > 0 ? all(cache->slots[s]) : std::span<const Mat>()});
  }
  return views;
}

void Model::fuse(Activations& a, const Cache* cache) const {
  const Mat fused = a.fused.row_range(0, a.output_rows(0));
  if (config_.n_scales() == 1) return copy(output_states(a, 0), fused);
  for (int64_t s = 1; s < config_.n_scales(); ++s) {
    const Mat slots = a.slots[s].row_range(0, a.output_rows(s));
    widened(weights_.scales[s].up, a).forward(output_states(a, s), slots, a.scratch.precision);
    for (size_t i = 0; cache && i < cache->slots[s].size(); ++i) {
      const Segment& t = a.outputs[s][i];
      copy(slots.row_range(t.row, t.count), cache->slots[s][i].row_range(t.begin, t.count));
    }
  }
  weights_.gate.forward(scale_views(a, cache), a.outputs[0], static_cast<float>(config_.norm_eps),
                        a.fusion, fused);
}

void Model::head(ConstMat h, Activations& a) const {
  const int64_t rows = a.output_rows(0);
  const Mat normed = a.scratch.normed.row_range(0, rows);
  weights_.out_norm.forward(h.row_range(0, rows), static_cast<float>(config_.norm_eps), normed,
                            a.head_rstd.data);
  widened(weights_.output, a).forward(normed, a.logits.row_range(0, rows), a.scratch.precision);
}

std::vector<double> Model::mean_alpha(const Activations& a) {
  std::vector<double> mean(a.fusion.alpha.cols, 0.0);
  const int64_t rows = a.output_rows(0);
  for (int64_t r = 0; r < rows; ++r)
    for (size_t s = 0; s < mean.size(); ++s) mean[s] += a.fusion.alpha(r, s) / rows;
  if (mean.size() == 1) mean[0] = 1.0;
  return mean;
}

ParameterBlock::ParameterBlock(const ModelConfig& config)
    : count(axl::parameter_count(dense_part(parameter_table(config)))),
      memory(sizeof(float) * count),
      weights(config) {
  weights.bind(memory.floats(), false);
}

void ParameterBlock::zero() { set_zero(memory.floats(), count); }

}  // namespace axl
