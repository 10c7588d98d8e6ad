#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "axl/base/fields.h"
#include "axl/model/config.h"

namespace axl {

/// What `train:` of a configuration file holds.
struct TrainConfig {
  std::vector<std::string> data;       ///< files and directories
  std::vector<std::string> eval_data;  ///< held-out files; empty: split `holdout` off data
  std::vector<std::string> suffixes = {".txt",  ".md",  ".py",  ".pyi", ".jsonl", ".c",  ".h",
                                       ".cc",   ".cpp", ".hpp", ".js",  ".ts",    ".go", ".rs",
                                       ".java", ".sh",  ".rb",  ".lua", ".sql"};
  std::string optimizer = "lion";
  double lr = 1e-3;
  double table_lr = 0.05;            ///< of embedding tables, which follow the same schedule
  int64_t recall_bytes = 250000000;  ///< of data counted into the recall memory; 0: all
  std::vector<double> betas = {0.9, 0.99};
  double weight_decay = 0.1;  ///< matrices only
  double momentum = 0.95;     ///< of sgd and of muon's matrices
  int64_t batch_size = 16;    ///< sequences
  int64_t warmup_steps = 50;
  std::string schedule = "cosine";
  double min_lr_ratio = 0.0;  ///< where the cosine ends, as a share of lr
  double grad_clip = 1.0;     ///< global norm; 0 off
  double fine_loss_weight = 0.0;
  double fim_rate = 0;              ///< share of texts cut into prefix, suffix, middle; 0 off
  bool recompute = false;           ///< keep the inputs of blocks alone
  bool update_in_backward = false;  ///< each part as soon as its gradient is final
  std::string momentum_dtype = "f32";
  std::string weights_dtype = "f32";
  std::string teacher;  ///< a model to learn from; empty: from the text alone
  double distill_temperature = 2;
  double distill_alpha = 0.7;  ///< the teacher's share of the loss
  std::string precision = "auto";
  std::string max_time;            ///< "3m"; empty: no limit
  int64_t steps = 0;               ///< 0: no limit
  int64_t eval_every = 100;        ///< steps; 0: only at the end
  int64_t eval_bytes = 65536;      ///< of the held-out files, for one evaluation
  int64_t checkpoint_every = 200;  ///< steps; 0: only at the end
  double holdout = 0.02;           ///< share of files; 0 off
  int64_t seed = 0;
  int64_t threads = 0;  ///< 0: one per physical core

  Fields fields();
  void validate() const;
};

/// A whole configuration file.
struct Config {
  std::string name = "axl";
  ModelConfig model;
  TrainConfig train;

  /// All keys with dotted names: "name", "model.d_model", "train.lr".
  Fields fields();
  void validate() const;
};

}  // namespace axl
