#pragma once

#include <cstdint>

#include "axl/model/config.h"
#include "axl/train/config.h"

namespace axl {

/// Bytes that training takes: weights, gradients, optimizer states and the buffers of one batch,
/// and the teacher, if any, summed over what the trainer allocates. The program itself and its
/// libraries come on top.
int64_t training_bytes(const ModelConfig& model, const TrainConfig& train);

/// Bytes that generating text takes: f32 weights, the caches of a full context and buffers.
int64_t inference_bytes(const ModelConfig& model);

}  // namespace axl
