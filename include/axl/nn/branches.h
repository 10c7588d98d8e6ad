#pragma once

#include <algorithm>
#include <span>

#include "axl/base/parallel.h"
#include "axl/nn/layers.h"

/// A few rows through several layers side by side. What they compute is what Block and CrossBlock
/// compute one after another, bit for bit, in a fraction of their loops over threads: continuing a
/// text by one byte is so little work for each loop that beginning it counts.
namespace axl {

/// Rows of a branch at most.
inline constexpr int64_t kFewRows = detail::kManyRows - 1;

/// What a branch works in.
struct BranchBuffers {
  Mat q, kv, out, lse, a;  ///< [kFewRows, D], keys and values [kFewRows, 2D], …, attention's result
  Mat gate_up, act, ffn;  ///< [kFewRows, 2F], [kFewRows, F], the feed-forward part's result
  BranchBuffers() = default;
  BranchBuffers(Arena& arena, int64_t d, int64_t heads, int64_t d_ff);
  BranchBuffers first_rows(int64_t rows, int64_t source_rows) const;
};

/// a = attention(q_norm x → kv_norm source), y += a, y += swiglu(ffn_norm(x + a)): with source = x
/// and y = x that is a Block, with another scale as source a CrossBlock. Weights are coded.
struct Branch {
  const RmsNorm *q_norm, *kv_norm;
  const Attention* attn;
  const RmsNorm* ffn_norm;
  const SwiGlu* ffn;
  AttentionPlan plan;
  ConstMat x, source;                ///< [R, D], [Rs, D]; either may have no rows
  std::span<const KeyValues> cache;  ///< one per sequence (Attention::attend)
  BranchBuffers buffers;             ///< of R and Rs rows
  Mat y;                             ///< [R, D]
  /// Where branches run apart, thread `home`, modulo their number, runs this one: the same one for
  /// each byte, in whose core's caches its weights may still be.
  int64_t home;
};

/// All of them, loop by loop together. No y is another branch's x or source, but for its own and
/// that of branches that share it; sums are in the order of the branches.
void forward_together(std::span<const Branch> branches, float eps, const Scratch& scratch);

/// The same, bit for bit, each branch on one thread: one loop, whose parts may be uneven, instead
/// of several even ones.
void forward_apart(std::span<const Branch> branches, float eps, const Scratch& scratch);

/// Whether that is faster for `layers` layers like these one after another. It is where threads are
/// few, layers small, and data takes long from core to core, as between the parts of a processor
/// that share no cache. The weights of the whole model must fit into any core's cache: otherwise it
/// counts for more that a thread keeps to its own rows of them, which may still be there.
bool are_faster_apart(std::span<const Branch> branches, int64_t layers);

/// body(i) for each of several branches on the thread that homes[i] says, loops within it included.
template <class Body>
void for_each_branch_apart(std::span<const int64_t> homes, const Body& body) {
  const int64_t threads = num_threads();
  const auto run = [&](int64_t thread) {
    for (size_t i = 0; i < homes.size(); ++i)
      if (homes[i] % threads == thread) body(static_cast<int64_t>(i));
  };
  if (std::any_of(homes.begin(), homes.end(), [&](int64_t home) { return home % threads != 0; }))
    return parallel_for(threads, run);
  const SerialSection alone;
  run(0);
}

}  // namespace axl
