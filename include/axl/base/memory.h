#pragma once

#include <cstdint>
#include <filesystem>

namespace axl {

/// Bytes of memory that a process may still take without swapping or being killed: MemAvailable of
/// /proc/meminfo, or what the limits of its control group and of those above it (versions 1 and 2)
/// leave, if that is less; pages of files that the group can drop count as free. A very large
/// number where nothing can be read. `root` is put before every path, for tests.
int64_t available_memory(const std::filesystem::path& root = "/");

}  // namespace axl
