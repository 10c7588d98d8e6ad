#include "axl/kernels/isa.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "isa_choice.h"

namespace axl {
namespace {

// The features that row_kernels.cc demands of its compiler; the system must save the registers too,
// which __builtin_cpu_supports asks as well.
bool cpu_has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const RowKernels*& active() {
  static const RowKernels* kernels = &choose_row_kernels(wanted_isa(), runnable_row_kernels());
  return kernels;
}

}  // namespace

std::vector<const RowKernels*> runnable_row_kernels() {
  std::vector<const RowKernels*> runnable;
  if (cpu_has_avx512()) runnable.push_back(&kAvx512RowKernels);
  if (cpu_has_avx2()) runnable.push_back(&kAvx2RowKernels);
  return runnable;
}

const char* wanted_isa() {
  const char* value = std::getenv("AXL_ISA");
  return value && *value ? value : nullptr;
}

const RowKernels& choose_row_kernels(const char* wanted,
                                     std::span<const RowKernels* const> runnable) {
  if (runnable.empty()) throw Error("this CPU has no AVX2 with FMA, which axl needs");
  if (!wanted || !*wanted) return *runnable[0];
  for (const RowKernels* kernels : runnable)
    if (std::string_view(kernels->isa) == wanted) return *kernels;
  const std::vector<std::string> names = {kAvx512RowKernels.isa, kAvx2RowKernels.isa};
  for (const std::string& name : names)
    if (name == wanted)
      throw UsageError(format("AXL_ISA is '{}', which this CPU lacks; unset it, or set it to {}",
                              wanted, runnable[0]->isa));
  throw UsageError(format("AXL_ISA is '{}', but it must be one of {}, {}{}", wanted, names[0],
                          names[1], did_you_mean(wanted, names)));
}

void use_row_kernels(const RowKernels& kernels) { active() = &kernels; }

const RowKernels& row_kernels() { return *active(); }

const char* kernel_isa() { return row_kernels().isa; }

}  // namespace axl
