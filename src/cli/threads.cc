#include "cli/threads.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "axl/base/format.h"
#include "axl/base/parallel.h"

namespace axl {
namespace {

/// A number of a CPU's topology; -1 where the kernel does not tell.
int topology(int cpu, const char* what) {
  std::ifstream file(format("/sys/devices/system/cpu/cpu{}/topology/{}", cpu, what));
  int value = -1;
  file >> value;
  return value;
}

int allowed_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return static_cast<int>(std::thread::hardware_concurrency());
  }
  std::set<std::pair<int, int>> cores;
  int unknown = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const int core = topology(cpu, "core_id");
    if (core < 0) {
      ++unknown;
    } else {
      cores.insert({topology(cpu, "physical_package_id"), core});
    }
  }
  return static_cast<int>(cores.size()) + unknown;
}

/// CPUs that a container's quota amounts to (cgroup v2); no limit: a large number.
int quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double microseconds = 0, period = 0;
  if (!(file >> microseconds >> period) || period <= 0) return 1 << 20;
  return static_cast<int>(std::ceil(microseconds / period));
}

}  // namespace

int default_threads() { return std::max(1, std::min(allowed_cores(), quota())); }

void use_threads(int64_t n) { set_num_threads(n > 0 ? static_cast<int>(n) : default_threads()); }

}  // namespace axl
