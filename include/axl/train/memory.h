#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "axl/model/config.h"
#include "axl/train/config.h"

namespace axl {

/// Bytes that training takes: weights, gradients, optimizer states and the buffers of one batch,
/// and the teacher, if any, summed over what the trainer allocates. The program itself and its
/// libraries come on top.
int64_t training_bytes(const ModelConfig& model, const TrainConfig& train);

/// The peak of resident memory of a process that trains: that, the program, its libraries, and the
/// buffers in which they pack the operands of products.
int64_t peak_training_bytes(const ModelConfig& model, const TrainConfig& train);

/// What to set, in the form of --set, so that training fits into `available` bytes: {} when it fits
/// as it is. The means are taken one after another (recompute, update_in_backward, momentum_dtype,
/// weights_dtype, as far as the optimizer has them), and when all of them are not enough, again
/// with half the batch. Nothing when it does not fit at all.
std::optional<std::vector<std::string>> settings_that_fit(const Config& config, int64_t available);

/// Throws Error, which names the settings that would fit, unless training fits into `available`.
void require_memory(const Config& config, int64_t available);

/// Bytes that generating text takes: f32 weights, the caches of a full context and buffers.
int64_t inference_bytes(const ModelConfig& model);

}  // namespace axl
