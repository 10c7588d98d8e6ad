#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/run.h"

namespace {

// Threads that wait for each other should give up their core soon: by default GCC's OpenMP runtime
// spins for milliseconds, which makes training twenty times slower when anything else runs on the
// machine. The runtime reads its environment when it is loaded, before any code of ours, so the
// program has to begin once more. A user's own setting is left alone.
void wait_politely(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error && setenv("GOMP_SPINCOUNT", "1000", 0) == 0) execv(self.c_str(), argv);
}  // still here: the program is as correct as before, and slower under load

}  // namespace

int main(int argc, char** argv) {
  wait_politely(argv);
  return axl::run_cli(argc, argv);
}
