#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "axl/model/config.h"
#include "axl/nn/layers.h"
#include "axl/nn/scales.h"
#include "axl/tensor/arena.h"

namespace axl {

/// Everything that a model learns, as views. The gradient of a model, and each of an optimizer's
/// moments, is another Weights of the same shape.
struct Weights {
  struct Scale {
    int64_t factor = 1;
    Linear down, up;  ///< [D, s·D] and [s·D, D]; empty at scale 1
    std::vector<Block> stack;
  };
  /// One directed pair of scales within a cross-scale layer; indices into `scales`.
  struct Pair {
    int64_t source, target;
    CrossBlock block;
  };

  Weight tok_embd;             ///< [V, D]
  Weight votes;                ///< [vote_rows(), kMemoryLevels]; empty without recall and repeats
  std::vector<Weight> tables;  ///< more embeddings that each byte reads a row of, see lookups()
  std::vector<Scale> scales;
  std::vector<std::vector<Pair>> cross;  ///< [C] layers of S·(S−1) pairs
  Fusion gate;                           ///< empty with one scale
  RmsNorm out_norm;
  Linear output;           ///< [V, D]
  bool are_coded = false;  ///< all matrices of the layers are

  Weights() = default;
  /// Shapes without data.
  explicit Weights(const ModelConfig& config);
  /// Lets the views point into one block of floats, tensor after tensor. A block for the dense
  /// parameters alone (gradients, moments) has no room for the tables, which come last.
  void bind(float* data, bool with_tables);
  /// Lets them point to parameters that lie elsewhere, read-only, in the order of the parameter
  /// table: f32 as matrices, everything else coded.
  void bind(std::span<const PackedMatrix> parameters);

  /// Lets the gradients of one part after another (backward_parts) have the same place,
  /// floats_of_largest_part() of them; tables are left out.
  void bind_parts(float* data);

  /// Visits every tensor as visit(name, Weight&, Role), in the order and with the names of the
  /// PyTorch definition's state_dict.
  template <class Visit>
  void for_each_parameter(Visit&& visit);
};

/// One entry of a model's parameter table.
struct Parameter {
  std::string name;
  Role role;
  std::vector<int64_t> shape;  ///< [D] for gains, [rows, cols] for matrices
  int64_t rows, cols;
  int64_t offset;  ///< in floats, into the block that bind() was given
  int64_t size() const { return rows * cols; }
};
std::vector<Parameter> parameter_table(const ModelConfig& config);
/// The leading part of a table whose gradients are dense: all but embedding tables, of which a step
/// touches few rows.
std::span<const Parameter> dense_part(const std::vector<Parameter>& table);
int64_t parameter_count(std::span<const Parameter> table);

/// Where the values of one parameter lie: in f32 or in bf16, the other is null.
struct ParameterValues {
  float* f32 = nullptr;
  uint16_t* bf16 = nullptr;
};
/// Whether a model that keeps its weights in bf16 keeps these so: the matrices. What is small or
/// read row by row stays f32.
inline bool may_be_bf16(Role role) {
  return role == Role::kMatrix || role == Role::kResidualOutput || role == Role::kEmbedding ||
         role == Role::kOutput;
}
/// Floats of the parameters for which that holds.
int64_t bf16_parameter_count(std::span<const Parameter> table);

/// Neighbours in a parameter table: [first, end).
struct ParameterRange {
  int64_t first = 0, end = 0;
};
/// The dense parameters, cut into those whose gradients a backward pass completes together, in the
/// order of the table.
std::vector<ParameterRange> backward_parts(const Weights& weights);
ParameterRange range_of(const Linear& layer);
ParameterRange range_of(const Block& block);
ParameterRange range_of(const CrossBlock& block);
/// Last norm, output and votes.
ParameterRange range_of_head(const Weights& weights);
int64_t floats_of_largest_part(const ModelConfig& config);

template <class Visit>
void Weights::for_each_parameter(Visit&& visit) {
  visit("tok_embd.weight", tok_embd, Role::kEmbedding);
  for (Scale& s : scales)
    if (s.factor > 1)
      visit("down." + std::to_string(s.factor) + ".weight", s.down.weight, Role::kMatrix);
  for (Scale& s : scales)
    if (s.factor > 1)
      visit("up." + std::to_string(s.factor) + ".weight", s.up.weight, Role::kMatrix);
  for (Scale& s : scales)
    for (size_t i = 0; i < s.stack.size(); ++i)
      visit_parameters(s.stack[i],
                       "stack." + std::to_string(s.factor) + "." + std::to_string(i) + ".", visit);
  for (size_t layer = 0; layer < cross.size(); ++layer)
    for (Pair& p : cross[layer])
      visit_parameters(p.block,
                       "cross." + std::to_string(layer) + "." +
                           std::to_string(scales[p.source].factor) + "to" +
                           std::to_string(scales[p.target].factor) + ".",
                       visit);
  if (gate.weight.rows > 0) visit("gate.weight", gate.weight, Role::kGate);
  visit("out_norm.weight", out_norm.gain, Role::kGain);
  visit("output.weight", output.weight, Role::kOutput);
  if (votes.rows > 0) visit("recall.votes.weight", votes, Role::kVotes);
  for (size_t i = 0; i < tables.size(); ++i)
    visit("table." + std::to_string(i) + ".weight", tables[i], Role::kTable);
}

}  // namespace axl
