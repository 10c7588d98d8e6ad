#include "axl/kernels/widen.h"

#include <algorithm>

#include "axl/base/parallel.h"
#include "axl/tensor/half.h"

namespace axl {

void widen_bf16(const uint16_t* x, int64_t n, float* out) {
  constexpr int64_t kChunk = 1 << 16;
  parallel_for((n + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk, end = std::min(n, begin + kChunk);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) out[i] = from_bf16(x[i]);
  });
}

}  // namespace axl
