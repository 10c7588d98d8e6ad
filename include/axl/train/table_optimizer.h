#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/model/model.h"
#include "axl/train/optimizer.h"

namespace axl {

/// Row-wise Adagrad for embedding tables (as recommender systems train theirs): for each row that a
/// step has used, with gradient g [D],
///
///   G ← G + mean(g²),   w ← w − lr · g / (√G + ε)
///
/// A row that was not used has g = 0, for which the dense rule leaves G and w as they are: touching
/// the used rows alone is the dense rule, exactly. One float of state per row.
class TableOptimizer {
 public:
  /// For steps of at most `max_rows` bytes. An update takes no memory.
  TableOptimizer(const std::vector<Parameter>& table, int64_t max_rows);
  /// Bytes that a constructor takes.
  static int64_t required_bytes(const std::vector<Parameter>& table, int64_t max_rows);

  /// Updates the tables among the model's parameters. The result does not depend on the number of
  /// threads.
  void update(std::span<const ParameterValues> values, const Model::TableGradient& gradient,
              double lr);
  /// Empty for a model without tables.
  std::vector<OptimizerState> state() const;

 private:
  struct Use {
    int32_t row, byte;
  };
  void update_table(size_t t, float* table, const Model::TableGradient& gradient, float lr);

  std::vector<Parameter> tables_;
  std::vector<size_t> numbers_;  ///< of the tables in the parameter table
  std::vector<int64_t> places_;  ///< of each table's state
  int64_t count_ = 0;
  Buffer squares_;
  std::vector<std::vector<Use>> uses_;    ///< [table] scratch [max_rows]
  std::vector<std::vector<float>> sums_;  ///< [table] scratch [D]
};

}  // namespace axl
