#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "axl/model/recall.h"
#include "axl/model/weights.h"
#include "axl/nn/branches.h"

namespace axl {

/// What a decoding session keeps of the tokens it has seen. Each place holds one matrix per
/// sequence, with a row per token of its scale; keys and values as KeyValues has them, in 8 bits
/// where weights are coded.
struct Cache {
  using PerSequence = std::vector<Mat>;
  using KeysPerSequence = std::vector<KeyValues>;
  std::vector<int32_t*> ids;                        ///< [N] per sequence; empty without lookups
  PerSequence embedded;                             ///< [N, D] inputs of the fine stack
  std::vector<std::vector<KeysPerSequence>> stack;  ///< [scale][layer] of N/s tokens
  std::vector<std::vector<KeysPerSequence>> cross;  ///< [layer][pair] of the source's tokens
  std::vector<PerSequence> slots;  ///< [scale] [N/s, s·D]; empty for the fine scale

  Cache() = default;
  /// Room for `capacity` bytes of each of `sequences`.
  Cache(Arena& arena, const Weights& weights, int64_t heads, int64_t sequences, int64_t capacity);

  /// The places of some of the sequences, in this order. `weights` as when it was made.
  Cache select(const Weights& weights, std::span<const int64_t> sequences) const;
  /// Copies what sequence `from` keeps of its first `bytes` tokens of the finest scale, and of the
  /// coarser tokens that these complete.
  void copy_prefix(const Weights& weights, int64_t from, int64_t to, int64_t bytes);

 private:
  /// visit(place, factor of its scale, width of its rows); places of keys and values hold the
  /// tokens 2H times.
  template <class Visit>
  void for_each_place(const Weights& weights, const Visit& visit);

  int64_t heads_ = 1;
};

/// Rows that a prompt is read in: enough for products at full speed, little memory.
inline constexpr int64_t kPrefillRows = 256;

/// Every buffer that passing some rows through a model needs, laid out once.
/// Training keeps what backward needs for every layer. Recomputing training keeps the input of
/// every block, and backward fills one block's buffers anew before it needs them: about a quarter
/// more arithmetic, the same gradients bit for bit. Inference shares one layer's buffers.
struct Activations {
  enum class Mode { kTraining, kRecompute, kInference };

  /// `matrices` is what the model keeps them in.
  Activations(const ModelConfig& config, int64_t max_rows, Mode mode,
              ElementType matrices = ElementType::kF32);
  static size_t required_bytes(const ModelConfig& config, int64_t max_rows, Mode mode,
                               ElementType matrices = ElementType::kF32);

  size_t memory_bytes() const { return memory_.bytes(); }
  int64_t max_rows() const { return max_rows_; }
  bool recompute() const { return mode_ == Mode::kRecompute; }

  /// Says which tokens the next pass is about: at most max_rows of them, either whole sequences
  /// from their beginning or, with a cache, a run of each. Room for a scale's tokens is planned as
  /// max_rows / factor, rounded up: several runs must not complete more.
  ///
  /// Logits are wanted of the last `wanted[i]` bytes of run i, 1 at least, or of all bytes where
  /// nothing is given, as training must. What comes behind the keys and values of the last
  /// cross-scale layer is computed for these bytes alone and for the coarser tokens that they read.
  void lay_out(const Segments& new_bytes, std::span<const int64_t> wanted = {});

  Segments bytes;                  ///< rows of the finest scale
  std::vector<Segments> segments;  ///< [scale]
  int64_t rows(int64_t scale) const { return total_rows(segments[scale]); }
  /// [scale] the last tokens of each run that wanted bytes read; those of the finest scale are
  /// these bytes. Rows of states.back(), slots, fusion, fused, head_rstd and logits.
  std::vector<Segments> outputs;
  int64_t output_rows(int64_t scale) const { return total_rows(outputs[scale]); }
  /// Those rows of `states` [R_s, D] that become outputs: where not all do, a copy of them in
  /// before_outputs.
  Mat outputs_of(int64_t scale, Mat states) const;

  std::vector<int32_t*> lookup_rows;  ///< [table] [R], -1 where a byte reads no row

  /// Which memory each row recalls from, instead of the model's own: rows of even and odd documents
  /// (cross-fitting, see Recall). Empty outside training.
  struct CrossFit {
    std::span<const uint8_t> odd;  ///< [R] 1 where the row's document is odd
    const Recall* without_even = nullptr;
    const Recall* without_odd = nullptr;
  } cross_fit;

  /// What a teacher predicts for these rows, where the model is to learn from one.
  SoftTargets soft_targets;

  std::vector<Mat> groups, slots;        ///< [scale] [R_s, s·D]; empty at the fine scale
  std::vector<std::vector<Mat>> states;  ///< [C + 1][scale] before each cross-scale layer
  std::vector<Mat> before_outputs;  ///< [scale] outputs before the last of them; inference only
  std::vector<std::vector<Block::Saved>> blocks;      ///< [scale][layer]
  std::vector<std::vector<CrossBlock::Saved>> cross;  ///< [layer][pair]
  /// For a few rows through all scales, or all pairs, at once; inference only.
  std::vector<BranchBuffers> scale_branches, pair_branches;
  Fusion::Saved fusion;
  Mat fused;      ///< [R, D]
  Mat head_rstd;  ///< [R, 1]
  Mat logits;     ///< [R, V]
  Mat nll, kl;    ///< [R, 1] nats of each target, and of a teacher's predictions beyond its own

  // Gradients of states; training only.
  std::vector<Mat> d_states, d_before;  ///< [scale] [R_s, D]
  Mat d_fused, d_fine;                  ///< [R, D]
  std::vector<Mat> d_wide;              ///< [scale] [R_s, s·D] of groups or slots
  Scratch scratch;
  float* widened =
      nullptr;  ///< room for a layer's matrices in f32, where the model has them in bf16

 private:
  void plan(Arena& arena, const ModelConfig& config, int64_t max_rows, Mode mode,
            ElementType matrices);
  void plan_scratch(Arena& arena, const ModelConfig& config);
  void plan_ends(Arena& arena, const ModelConfig& config);  ///< before the blocks and behind them
  void plan_inputs(Arena& arena, const ModelConfig& config);
  void plan_blocks(Arena& arena, const ModelConfig& config);
  void plan_cross(Arena& arena, const ModelConfig& config);
  void plan_branches(Arena& arena, const ModelConfig& config);
  template <class Width>
  std::vector<Mat> per_scale(Arena& arena, const Width& width) const;
  Activations() = default;

  std::vector<int64_t> factors_;
  int64_t max_rows_ = 0;
  Mode mode_ = Mode::kTraining;
  std::vector<Mat> inputs_;  ///< of all blocks; where they are recomputed
  Buffer memory_;
};

}  // namespace axl
