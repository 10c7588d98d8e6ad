#pragma once

#include <span>
#include <vector>

#include "axl/nn/layers.h"

/// How bytes become tokens of a coarser scale, and how all scales become one state per byte again.
namespace axl {

/// groups[j] = the s consecutive rows of x that token j covers, side by side: x [R, D] ->
/// groups [R_s, s·D]. `history`, one [tokens, D] per sequence, holds rows of x from before the
/// segment when it does not begin at token 0; empty otherwise.
void gather_groups(ConstMat x, const Segments& bytes, const Segments& tokens, int64_t factor,
                   std::span<const Mat> history, Mat groups);
/// dx += the reverse; whole sequences only.
void scatter_groups(ConstMat d_groups, const Segments& bytes, const Segments& tokens,
                    int64_t factor, Mat dx);

/// One scale as fusion sees it.
struct ScaleView {
  int64_t factor = 1;
  ConstMat rows;  ///< fine states [R, D], or slots [R_s, s·D]: token j's s slots
  const Segments* tokens = nullptr;
  std::span<const Mat> history;  ///< per sequence [tokens, s·D], as far as rows do not reach back
};

/// Fuses the scales' views per byte (kernels/fusion.h). At byte i scale s shows slot (i + 1) mod s
/// of its last token that has ended by byte i; before the first has ended, nothing.
struct Fusion {
  Weight weight;  ///< [S, S·D]; empty: the views are summed without a gate
  bool gated() const { return weight.rows > 0; }

  struct Saved {
    Mat alpha, rstd;  ///< [R, S]
    Saved() = default;
    Saved(Arena& arena, int64_t rows, int64_t scales)
        : alpha(arena.matrix(rows, scales)), rstd(arena.matrix(rows, scales)) {}
  };

  void forward(std::span<const ScaleView> views, const Segments& bytes, float eps,
               const Saved& saved, Mat fused) const;
  /// d_views[s] is assigned: the shape of views[s].rows. Whole sequences only.
  void backward(std::span<const ScaleView> views, const Segments& bytes, const Saved& saved,
                ConstMat d_fused, std::span<const Mat> d_views, const Fusion& grad,
                const Scratch& scratch) const;
};

}  // namespace axl
