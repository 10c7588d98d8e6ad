#pragma once

#include <algorithm>
#include <cstdint>

#include "axl/kernels/gemm.h"

namespace axl {

/// Multi-head attention of one sequence's queries to keys of the same or another scale.
///
/// q, out [n, D]; k, v [m, D]; D = heads · head_size, head h in columns h · head_size and on.
/// Query i is token query_begin + i of a scale that groups `query_factor` bytes; key j is token j
/// of one that groups `key_factor`. A query reads a key only if the key has ended no later than
/// itself: the first (query_factor · (query_begin + i + 1)) / key_factor keys. One that sees none
/// yields 0. Scores are scaled by 1/√head_size and never written to memory; lse [n, heads] keeps
/// their log-sum-exp per row (arXiv:2205.14135).
struct AttentionHeads {
  int64_t heads = 1;
  int64_t query_begin = 0, query_factor = 1, key_factor = 1;
  int64_t window = 0;  ///< of the keys that have ended, a query reads the last so many; 0 all
  Precision precision = Precision::kF32;  ///< of the products; softmax is f32

  /// A query reads keys [first_visible, visible).
  int64_t first_visible(int64_t query, int64_t keys) const {
    return window > 0 ? std::max<int64_t>(0, visible(query, keys) - window) : 0;
  }
  int64_t visible(int64_t query, int64_t keys) const {
    const int64_t seen = query_factor * (query_begin + query + 1) / key_factor;
    return seen < keys ? seen : keys;
  }
};

/// Queries handled together: their scores, [kQueryBlock, keys], stay in a core's cache.
inline constexpr int64_t kQueryBlock = 64;

/// Floats of scratch that one thread needs for `keys` keys of one head.
int64_t attention_scratch(int64_t keys, int64_t head_size);

/// One head on the calling thread, queries [block · kQueryBlock, …) alone, of q and out [n, D] and
/// that head's own k and v [m, head_size].
/// scratch: attention_scratch(k.rows, head_size) floats of this thread's own.
void attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q, ConstMat k,
                    ConstMat v, Mat out, Mat lse, float* scratch);

/// The same of a text that is continued, which nothing goes backward through: products are f32,
/// keys and values f32 or in 8 bits. A query's result is the same, bit for bit, whichever others
/// come with it.
void continue_attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q,
                             ConstMat k, ConstMat v, Mat out, Mat lse, float* scratch);
void continue_attention_head(const AttentionHeads& a, int64_t head, int64_t block, ConstMat q,
                             ConstScaledMat k, ConstScaledMat v, Mat out, Mat lse, float* scratch);

/// All queries of one head on the calling thread: assigns that head's columns of dq, dk and dv from
/// d_out and the forward pass's lse.
void attention_head_backward(const AttentionHeads& a, int64_t head, ConstMat q, ConstMat k,
                             ConstMat v, ConstMat lse, ConstMat d_out, Mat dq, Mat dk, Mat dv,
                             float* scratch);

}  // namespace axl
