#pragma once

#include <cstdint>

namespace axl {

/// Threads that computing gains from: one per physical core that this process may run on, since
/// two on one core share its arithmetic units, and no more than a container's CPU quota.
int default_threads();

/// Uses `n` threads from now on; 0 takes default_threads().
void use_threads(int64_t n);

}  // namespace axl
