#include "axl/train/memory.h"

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/model/activations.h"
#include "axl/train/optimizer.h"
#include "axl/train/table_optimizer.h"
#include "axl/train/teacher.h"

namespace axl {
namespace {

int64_t recall_bytes(const ModelConfig& c) {
  return sizeof(uint32_t) * c.recall.orders.size() << c.recall.bits;
}

int64_t rope_bytes(const ModelConfig& c) { return sizeof(float) * c.max_seq_len * c.head_size(); }

}  // namespace

int64_t training_bytes(const ModelConfig& model, const TrainConfig& train) {
  const std::vector<Parameter> table = parameter_table(model);
  const std::span<const Parameter> dense = dense_part(table);
  int64_t floats =
      parameter_count(table) + parameter_count(dense) + optimizer_floats(train.optimizer, dense);
  // A save makes the tables' bf16 copies.
  const int64_t tables = parameter_count(table) - parameter_count(dense);
  const int64_t rows = train.batch_size * model.max_seq_len;
  return teacher_bytes(model, train) + sizeof(float) * floats + sizeof(uint16_t) * tables +
         TableOptimizer::required_bytes(table, rows) + 3 * recall_bytes(model) + rope_bytes(model) +
         Activations::required_bytes(model, rows, Activations::Mode::kTraining);
}

int64_t inference_bytes(const ModelConfig& model) {
  Arena cache;
  Cache(cache, Weights(model), 1, model.max_seq_len);
  return sizeof(float) * parameter_count(parameter_table(model)) + rope_bytes(model) +
         recall_bytes(model) + cache.used() +
         Activations::required_bytes(model, std::min(kPrefillRows, model.max_seq_len),
                                     Activations::Mode::kInference);
}

}  // namespace axl
