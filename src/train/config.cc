#include "axl/train/config.h"

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/data/corpus.h"

namespace axl {
namespace {

constexpr double kMaxCount = 1e15;  // exact as a double

void check_below_one(const char* name, double value) {
  if (!(value >= 0 && value < 1)) {
    throw UsageError(format("{} must be at least 0 and below 1, but a value is {}", name, value));
  }
}

/// A name becomes a directory below checkpoints/.
void check_name(const std::string& name) {
  constexpr const char* kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (name.empty() || name.front() == '.' || name.front() == '-' || name.size() > 100 ||
      name.find_first_not_of(kLetters) != std::string::npos) {
    throw UsageError(
        format("name is '{}'; it must be 1 to 100 letters, digits, '_', '-' or '.', and begin with "
               "none of the last two, because it names a directory",
               name));
  }
}

void append(Fields& to, const std::string& section, Fields fields) {
  for (Field& field : fields) {
    field.name = section + "." + field.name;
    to.push_back(std::move(field));
  }
}

}  // namespace

Fields TrainConfig::fields() {
  return {
      {"data", &data, "files and directories to learn from"},
      {"eval_data", &eval_data,
       "files and directories to evaluate on; [] sets the share `holdout` of data aside"},
      {"suffixes", &suffixes, "names of the files that are taken from a directory"},
      {.name = "optimizer",
       .target = &optimizer,
       .help = "update rule",
       .choices = {"lion", "adamw", "sgd", "muon"}},
      {"lr", &lr, "peak learning rate", 0, 100},
      {"table_lr", &table_lr, "peak learning rate of n-gram and recall embeddings", 0, 100},
      {"recall_bytes", &recall_bytes,
       "the recall memory is counted from at most so many bytes of data, spread evenly over it; 0 "
       "from all of it",
       0, kMaxCount},
      {"betas", &betas, "decay of the momentum and of the second average; sgd has none", 0, 1},
      {"weight_decay", &weight_decay, "pulls matrices towards zero; 0 off", 0, 10},
      {"momentum", &momentum, "of sgd, and of muon's matrices", 0, 1},
      {"batch_size", &batch_size, "sequences of max_seq_len bytes in a step", 1, 65536},
      {"warmup_steps", &warmup_steps, "steps in which the learning rate rises from 0", 0,
       kMaxCount},
      {.name = "schedule",
       .target = &schedule,
       .help = "learning rate after the warm-up",
       .choices = {"cosine", "constant"}},
      {"min_lr_ratio", &min_lr_ratio, "where the cosine ends, as a share of lr", 0, 1},
      {"grad_clip", &grad_clip, "largest global norm of the gradient; 0 off", 0, 1e9},
      {"fine_loss_weight", &fine_loss_weight,
       "share of a second loss on the fine stack alone, which a llama GGUF export needs; 0 off", 0,
       100},
      {"fim_rate", &fim_rate,
       "share of the texts in a window that are cut into prefix, suffix and middle, which teaches "
       "to fill gaps; 0 off",
       0, 1},
      {"recompute", &recompute,
       "keep only the inputs of blocks and compute the rest again for backward: less memory, a "
       "quarter more arithmetic"},
      {"update_in_backward", &update_in_backward,
       "update each layer as soon as its gradient is known and keep no other gradients; needs "
       "grad_clip 0"},
      {.name = "momentum_dtype",
       .target = &momentum_dtype,
       .help = "what lion and sgd keep their momentum in; bf16 is rounded stochastically",
       .choices = {"f32", "bf16"}},
      {.name = "weights_dtype",
       .target = &weights_dtype,
       .help = "what matrices are kept in, with lion and sgd; bf16 is rounded stochastically",
       .choices = {"f32", "bf16"}},
      {"teacher", &teacher, "model to learn from (axl distill); \"\" learns from the text alone"},
      {"distill_temperature", &distill_temperature,
       "softens the teacher's predictions and the student's before they are compared", 0.1, 100},
      {"distill_alpha", &distill_alpha, "the teacher's share of the loss; the text has the rest", 0,
       1},
      {.name = "precision",
       .target = &precision,
       .help = "of matrix products; auto takes bf16 where the CPU multiplies it faster (AMX, or "
               "AMD with AVX512_BF16)",
       .choices = {"auto", "f32", "bf16"}},
      {"max_time", &max_time, "stops after this long, as 90s, 3m or 1h30m; \"\" has no limit"},
      {"steps", &steps, "stops after so many steps; 0 has no limit", 0, kMaxCount},
      {"eval_every", &eval_every, "steps between evaluations; 0 only at the end", 0, kMaxCount},
      {"eval_bytes", &eval_bytes, "bytes of the held-out files that an evaluation reads", 1,
       kMaxCount},
      {"checkpoint_every", &checkpoint_every, "steps between checkpoints; 0 only at the end", 0,
       kMaxCount},
      {"holdout", &holdout, "share of the files held out where eval_data is empty; 0 off", 0, 0.9},
      {"seed", &seed, "of initialisation, order of data and hold-out", 0, kMaxCount},
      {"threads", &threads, "0 takes one per physical core", 0, 4096},
  };
}

void TrainConfig::validate() const {
  if (betas.size() != 2) {
    throw UsageError(
        format("train.betas must be two numbers, as [0.9, 0.99], but has {}", betas.size()));
  }
  for (double beta : betas) check_below_one("train.betas", beta);
  check_below_one("train.momentum", momentum);
  if (update_in_backward && grad_clip > 0) {
    throw UsageError(
        format("train.update_in_backward updates a layer before the global norm is known that "
               "train.grad_clip {} needs; set train.grad_clip to 0",
               grad_clip));
  }
  for (const auto& [key, dtype] :
       {std::pair("momentum_dtype", momentum_dtype), std::pair("weights_dtype", weights_dtype)}) {
    if (dtype != "bf16" || optimizer == "lion" || optimizer == "sgd") continue;
    throw UsageError(
        format("train.{} is bf16, which {} does not support; take train.optimizer lion or sgd, or "
               "f32",
               key, optimizer));
  }
  for (const std::string& suffix : suffixes) {
    if (suffix.size() < 2 || suffix.front() != '.') {
      throw UsageError(
          format("train.suffixes must begin with a dot, as .py, but one is '{}'", suffix));
    }
  }
  if (max_time.empty()) return;
  try {
    if (parse_duration(max_time) <= 0) throw UsageError("must be longer than 0");
  } catch (const UsageError& e) {
    throw UsageError(format("train.max_time: {}", e.what()));
  }
}

Fields Config::fields() {
  Fields all = {{"name", &name, "names the model and its directory, checkpoints/<name>"}};
  append(all, "model", model.fields());
  append(all, "train", train.fields());
  return all;
}

void Config::validate() const {
  check_name(name);
  model.validate();
  train.validate();
  if (train.fim_rate > 0 && model.max_seq_len < kShortestFill) {
    throw UsageError(
        format("train.fim_rate needs windows that hold a prefix, a suffix and a middle, but "
               "model.max_seq_len is {}; make it at least {}, or train.fim_rate 0",
               model.max_seq_len, kShortestFill));
  }
}

}  // namespace axl
