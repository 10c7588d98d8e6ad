#include <cstdlib>

#include "cli/run.h"

namespace {

// Threads that wait for each other should give up their core soon: by default GCC's OpenMP runtime
// spins for milliseconds, which makes training twenty times slower when anything else runs on the
// machine. The runtime reads its environment when it is loaded, before any constructor of ours, so
// this has to run earlier still. A user's own setting is left alone.
void wait_politely() {
  if (!std::getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", "1000", 0);
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const kWaitPolitely)() = wait_politely;

}  // namespace

int main(int argc, char** argv) { return axl::run_cli(argc, argv); }
