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
  for_each_parameter([&](const std::string&, Weight& m, Role) {
    AXL_CHECK(next < parameters.size());
    const PackedMatrix& p = parameters[next++];
    AXL_CHECK(p.rows == m.rows && p.cols == m.cols);
    if (p.type == ElementType::kF32)
      m.data = const_cast<float*>(reinterpret_cast<const float*>(p.data));
    else
      m.packed[0] = p;
  });
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
