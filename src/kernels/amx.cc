#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tile_unit.h"

namespace axl::detail {
namespace {

// CPUID 7.0, EDX.
constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
// Linux hands out the registers' memory, 8 KiB a thread, to processes that ask for it
// (Documentation/arch/x86/xstate.rst).
constexpr long kRequestPermission = 0x1023, kTileData = 18;

bool cpu_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAmxBf16) && (d & kAmxTile);
}

}  // namespace

bool Amx::available() {
  static const bool available =
      cpu_has_amx() && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return available;
}

}  // namespace axl::detail
