#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "axl/model/model.h"
#include "axl/train/optimizer.h"

namespace axl {

inline constexpr const char* kStateFile = "state.safetensors";
inline constexpr const char* kLogFile = "train_log.csv";

/// What of a run is not in weights and optimizer. Data order, warm-up and schedule follow from
/// step, seconds and the configuration, so there is nothing else to remember.
struct RunState {
  int64_t step = 0;
  double seconds = 0;
  double recent_loss = 0;
  uint64_t seed = 0;
  uint64_t corpus_fingerprint = 0;
  uint64_t teacher = 0;  ///< its checksum; 0 without one
  std::string optimizer;
};

/// Writes `dir`/state.safetensors, whole or not at all. Throws Error.
void save_run_state(const std::filesystem::path& dir, const RunState& state, const Model& model,
                    std::span<const OptimizerState> optimizer);
/// Reads it into model and optimizer, after checking that it is of this model. Throws Error.
RunState load_run_state(const std::filesystem::path& dir, Model& model,
                        std::span<const OptimizerState> optimizer,
                        const std::string& optimizer_name);

}  // namespace axl
