#pragma once

#include <cstdint>

namespace axl {

/// out[i] = x[i] for n numbers, exactly, on all threads.
void widen_bf16(const uint16_t* x, int64_t n, float* out);

}  // namespace axl
