#pragma once

#include <cstdint>
#include <filesystem>

#include "axl/data/corpus.h"
#include "axl/model/model.h"
#include "axl/train/config.h"

namespace axl {

/// A trained model that another learns from.
class Teacher {
 public:
  /// Loads train.teacher for windows of `length` bytes, train.batch_size at a time. Throws
  /// UsageError where it cannot read so long windows, Error where it cannot be loaded.
  Teacher(const TrainConfig& train, int64_t length, Precision precision);

  /// What it predicts for a batch; valid until the next.
  SoftTargets predict(const TokenBatch& batch);

  uint64_t checksum() const { return checksum_; }

 private:
  Model model_;
  Activations activations_;
  float temperature_, alpha_;
  uint64_t checksum_;
};

/// What train.teacher takes in memory; 0 without one. Throws Error.
int64_t teacher_bytes(const ModelConfig& student, const TrainConfig& train);

}  // namespace axl
