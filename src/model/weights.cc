#include "axl/model/weights.h"

#include <algorithm>

#include "axl/model/lookup.h"

namespace axl {
namespace {

Mat shape(int64_t rows, int64_t cols) { return {nullptr, rows, cols}; }

Attention attention_shape(int64_t d) {
  return {shape(d, d), shape(d, d), shape(d, d), shape(d, d)};
}

SwiGlu swiglu_shape(int64_t d, int64_t f) { return {shape(f, d), shape(f, d), shape(d, f)}; }

}  // namespace

Weights::Weights(const ModelConfig& c) {
  const int64_t d = c.d_model, f = c.d_ff, scale_count = c.n_scales();
  const RmsNorm norm{shape(1, d)};
  const Block block{norm, attention_shape(d), norm, swiglu_shape(d, f)};
  const CrossBlock cross_block{norm, norm, attention_shape(d), norm, swiglu_shape(d, f)};

  tok_embd = shape(kVocab, d);
  for (int64_t s : c.downsample_factors) {
    Scale scale;
    scale.factor = s;
    if (s > 1) scale.down = {shape(d, s * d)}, scale.up = {shape(s * d, d)};
    scale.stack.assign(c.layers(scales.size()), block);
    scales.push_back(scale);
  }
  if (scale_count > 1) {
    cross.resize(c.n_cross_attn_layers);
    for (std::vector<Pair>& layer : cross)
      for (int64_t target = 0; target < scale_count; ++target)
        for (int64_t source = 0; source < scale_count; ++source)
          if (source != target) layer.push_back({source, target, cross_block});
    if (c.fusion == "gate") gate.weight = shape(scale_count, scale_count * d);
  }
  out_norm = norm;
  output = {shape(kVocab, d)};
  for (const Lookup& lookup : lookups(c)) tables.push_back(shape(lookup.rows, d));
  if (const int64_t rows = vote_rows(c)) votes = shape(rows, kMemoryLevels);
  int64_t parameter = 0;
  for_each_parameter([&](const std::string&, Weight& w, Role) { w.parameter = parameter++; });
}

void Weights::bind(float* data, bool with_tables) {
  for_each_parameter([&](const std::string&, Weight& m, Role role) {
    if (role == Role::kTable && !with_tables) return;
    m.data = data;
    data += m.size();
  });
}

void Weights::bind(std::span<const PackedMatrix> parameters) {
  size_t next = 0;
  are_coded = true;
  for_each_parameter([&](const std::string&, Weight& m, Role role) {
    AXL_CHECK(next < parameters.size());
    const PackedMatrix& p = parameters[next++];
    AXL_CHECK(p.rows == m.rows && p.cols == m.cols);
    if (p.type == ElementType::kF32)
      m.data = const_cast<float*>(reinterpret_cast<const float*>(p.data));
    else
      m.packed[0] = p;
    if (role == Role::kMatrix || role == Role::kResidualOutput) are_coded &= m.is_packed();
  });
}

int64_t bf16_parameter_count(std::span<const Parameter> table) {
  int64_t count = 0;
  for (const Parameter& p : table) count += may_be_bf16(p.role) ? p.size() : 0;
  return count;
}

ParameterRange range_of(const Linear& layer) {
  return {layer.weight.parameter, layer.weight.parameter + 1};
}

ParameterRange range_of(const Block& block) {
  return {block.attn_norm.gain.parameter, block.ffn.down.parameter + 1};
}

ParameterRange range_of(const CrossBlock& block) {
  return {block.q_norm.gain.parameter, block.ffn.down.parameter + 1};
}

ParameterRange range_of_head(const Weights& w) {
  const Weight& last = w.votes.rows > 0 ? w.votes : w.output.weight;
  return {w.out_norm.gain.parameter, last.parameter + 1};
}

std::vector<ParameterRange> backward_parts(const Weights& w) {
  std::vector<ParameterRange> parts{range_of(Linear{w.tok_embd})};
  for (const Weights::Scale& s : w.scales)
    if (s.factor > 1) parts.push_back(range_of(s.down));
  for (const Weights::Scale& s : w.scales)
    if (s.factor > 1) parts.push_back(range_of(s.up));
  for (const Weights::Scale& s : w.scales)
    for (const Block& b : s.stack) parts.push_back(range_of(b));
  for (const std::vector<Weights::Pair>& layer : w.cross)
    for (const Weights::Pair& p : layer) parts.push_back(range_of(p.block));
  if (w.gate.gated()) parts.push_back(range_of(Linear{w.gate.weight}));
  parts.push_back(range_of_head(w));
  return parts;
}

void Weights::bind_parts(float* data) {
  const std::vector<ParameterRange> parts = backward_parts(*this);
  size_t part = 0;
  float* next = data;
  for_each_parameter([&](const std::string&, Weight& w, Role role) {
    if (role == Role::kTable) return;
    if (w.parameter == parts[part].end) ++part, next = data;
    AXL_CHECK(w.parameter >= parts[part].first && w.parameter < parts[part].end);
    w.data = next;
    next += w.size();
  });
}

int64_t floats_of_largest_part(const ModelConfig& config) {
  const std::vector<Parameter> table = parameter_table(config);
  int64_t largest = 0;
  for (const ParameterRange part : backward_parts(Weights(config)))
    largest = std::max(largest, table[part.end - 1].offset + table[part.end - 1].size() -
                                    table[part.first].offset);
  return largest;
}

std::vector<Parameter> parameter_table(const ModelConfig& config) {
  std::vector<Parameter> table;
  int64_t offset = 0;
  Weights(config).for_each_parameter([&](const std::string& name, Weight& m, Role role) {
    std::vector<int64_t> shape{m.rows, m.cols};
    if (role == Role::kGain) shape = {m.cols};
    table.push_back({name, role, shape, m.rows, m.cols, offset});
    offset += m.size();
  });
  return table;
}

std::span<const Parameter> dense_part(const std::vector<Parameter>& table) {
  const auto end = std::find_if(table.begin(), table.end(),
                                [](const Parameter& p) { return p.role == Role::kTable; });
  return {table.begin(), end};
}

int64_t parameter_count(std::span<const Parameter> table) {
  return table.empty() ? 0 : table.back().offset + table.back().size();
}

}  // namespace axl
