#pragma once

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/kernels/gemm.h"
#include "axl/tensor/arena.h"

namespace axl {

/// op(B) [K, N], rounded to bf16 and packed once for products with many blocks of rows, so that
/// layers can follow each other block by block while it is in the cache. Needs has_bf16().
class Bf16Operand {
 public:
  /// Packs into `room`, which grows where it must and outlives this.
  Bf16Operand(Trans tb, ConstMat b, Buffer& room);
  /// C = A · op(B), or C += …, on the calling thread; bit for bit what gemm() makes of it.
  void multiply(ConstMat a, Mat c, Write write) const;

 private:
  int64_t k_, n_;
  void* packed_;
};

/// Calls body(begin, count) for blocks of rows, on all threads. Of few enough rows for a core's
/// cache and, but for the last, of whole register tiles; as many for each thread.
template <class Body>
void for_bf16_row_blocks(int64_t rows, const Body& body) {
  constexpr int64_t kTile = 12, kMaxTiles = 8;
  const int64_t tiles = (rows + kTile - 1) / kTile, threads = num_threads();
  const int64_t rounds = (tiles + kMaxTiles * threads - 1) / (kMaxTiles * threads);
  const int64_t blocks = std::min(tiles, rounds * threads);
  parallel_for_dynamic(blocks, [&](int64_t i) {
    const int64_t begin = i * tiles / blocks * kTile;
    body(begin, std::min(rows, (i + 1) * tiles / blocks * kTile) - begin);
  });
}

}  // namespace axl
