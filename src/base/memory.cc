#include "axl/base/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// The number at the beginning of a text; none for "max", a limit that is not set.
std::optional<int64_t> number_in(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return static_cast<int64_t>(std::min<uint64_t>(value, kUnlimited));
}

std::optional<int64_t> number_in_file(const fs::path& path) {
  std::string word;
  std::ifstream(path) >> word;
  return number_in(word);
}

/// The number behind `key` at the beginning of a line.
std::optional<int64_t> entry_of(const fs::path& path, const std::string& key) {
  std::ifstream in(path);
  for (std::string name, rest; in >> name && std::getline(in, rest);) {
    if (name != key) continue;
    const size_t digit = rest.find_first_of("0123456789");
    if (digit != std::string::npos) return number_in(rest.substr(digit));
  }
  return std::nullopt;
}

/// What versions 1 and 2 of control groups call their files.
struct GroupFiles {
  const char *limit, *usage, *droppable;
};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file"};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file"};

/// What the limits of `group` and of the groups above it, up to `mount`, leave.
int64_t left_in_groups(const fs::path& mount, const std::string& group, const GroupFiles& files) {
  int64_t left = kUnlimited;
  fs::path below = fs::path(group).relative_path();
  for (;; below = below.parent_path()) {
    const fs::path at = below.empty() ? mount : mount / below;
    const auto limit = number_in_file(at / files.limit), usage = number_in_file(at / files.usage);
    if (limit && usage) {
      const int64_t used = *usage - entry_of(at / "memory.stat", files.droppable).value_or(0);
      left = std::min(left, std::max<int64_t>(0, *limit - std::max<int64_t>(0, used)));
    }
    if (below.empty()) return left;
  }
}

}  // namespace

int64_t available_memory(const fs::path& root) {
  int64_t available = kUnlimited;
  if (const auto kib = entry_of(root / "proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/a/b", "0::/a/b"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    const fs::path mount = root / "sys/fs/cgroup";
    if (controllers == ",,")
      available = std::min(available, left_in_groups(mount, group, kVersion2));
    else if (controllers.find(",memory,") != std::string::npos)
      available = std::min(available, left_in_groups(mount / "memory", group, kVersion1));
  }
  return available;
}

}  // namespace axl
