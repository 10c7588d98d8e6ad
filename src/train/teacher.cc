#include "axl/train/teacher.h"

#include "axl/base/format.h"
#include "axl/model/checkpoint.h"

namespace axl {
namespace {

Model load_teacher(const TrainConfig& train, int64_t length) {
  Model model = load_model(train.teacher);
  if (model.config().max_seq_len < length)
    throw UsageError(
        format("the teacher {} reads {} bytes at a time, the student {}: set model.max_seq_len to "
               "at most {}",
               train.teacher, model.config().max_seq_len, length, model.config().max_seq_len));
  return model;
}

}  // namespace

Teacher::Teacher(const TrainConfig& train, int64_t length, Precision precision)
    : model_(load_teacher(train, length)),
      activations_(model_.config(), train.batch_size * length, Activations::Mode::kInference),
      temperature_(static_cast<float>(train.distill_temperature)),
      alpha_(static_cast<float>(train.distill_alpha)),
      checksum_(model_.checksum()) {
  activations_.scratch.precision = precision;
}

SoftTargets Teacher::predict(const TokenBatch& batch) {
  activations_.lay_out(whole_sequences(batch.sequences, batch.length));
  model_.forward(batch.ids, activations_);
  model_.logits(activations_);
  return {activations_.logits, temperature_, alpha_};
}

int64_t teacher_bytes(const ModelConfig& student, const TrainConfig& train) {
  if (train.teacher.empty()) return 0;
  const ModelConfig c = load_model_config(train.teacher);
  return sizeof(float) * parameter_count(parameter_table(c)) +
         (sizeof(uint32_t) * c.recall.orders.size() << c.recall.bits) +
         Activations::required_bytes(c, train.batch_size * student.max_seq_len,
                                     Activations::Mode::kInference);
}

}  // namespace axl
