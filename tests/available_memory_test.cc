// How much memory is left, read from the files of made-up machines.
#include <gtest/gtest.h>

#include "axl/base/memory.h"
#include "temp_dir.h"

namespace axl {
namespace {

constexpr int64_t kMiB = 1 << 20;

class AvailableMemory : public testing::Test {
 protected:
  AvailableMemory() {
    file("proc/meminfo", "MemTotal:   16000 kB\nMemAvailable:   10240 kB\nBuffers:   1 kB\n");
  }
  void file(const std::string& name, const std::string& text) {
    const std::filesystem::path path = dir_ / name;
    std::filesystem::create_directories(path.parent_path());
    put(path, text);
  }
  int64_t available() const { return available_memory(dir_.path()); }
  TempDir dir_;
};

TEST_F(AvailableMemory, IsWhatTheSystemSays) { EXPECT_EQ(available(), 10 * kMiB); }

TEST_F(AvailableMemory, IsUnlimitedWhereNothingCanBeRead) {
  std::filesystem::remove(dir_ / "proc/meminfo");
  EXPECT_GT(available(), int64_t{1} << 60);
}

TEST_F(AvailableMemory, IsWhatTheLimitOfAVersion2GroupLeaves) {
  file("proc/self/cgroup", "0::/a/b\n");
  file("sys/fs/cgroup/a/b/memory.max", "max\n");
  file("sys/fs/cgroup/a/b/memory.current", "1048576\n");
  EXPECT_EQ(available(), 10 * kMiB);
  file("sys/fs/cgroup/a/b/memory.max", "8388608\n");
  EXPECT_EQ(available(), 7 * kMiB);
  file("sys/fs/cgroup/a/b/memory.stat", "anon 9\ninactive_file 524288\nactive_file 7\n");
  EXPECT_EQ(available(), 7 * kMiB + kMiB / 2);
  file("sys/fs/cgroup/a/memory.max", "4194304\n");  // a group above
  file("sys/fs/cgroup/a/memory.current", "3145728\n");
  EXPECT_EQ(available(), kMiB);
  file("sys/fs/cgroup/a/memory.current", "5145728\n");
  EXPECT_EQ(available(), 0);
}

TEST_F(AvailableMemory, IsWhatTheLimitOfAVersion1GroupLeaves) {
  file("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:blkio,memory:/a\n0::/\n");
  file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  file("sys/fs/cgroup/memory/memory.usage_in_bytes", "4096\n");
  EXPECT_EQ(available(), 10 * kMiB);
  file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3145728\n");
  file("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "2097152\n");
  EXPECT_EQ(available(), kMiB);
  file("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 1048576\n");
  EXPECT_EQ(available(), 2 * kMiB);
}

}  // namespace
}  // namespace axl
