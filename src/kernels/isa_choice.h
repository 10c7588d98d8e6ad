#pragma once

#include <span>
#include <vector>

#include "row_kernels.h"

/// How kernel_isa() is chosen.
namespace axl {

/// Those that this CPU runs, best first.
std::vector<const RowKernels*> runnable_row_kernels();

/// AXL_ISA's value, which names what may be used; null where it is unset or empty.
const char* wanted_isa();

/// The one that AXL_ISA's value `wanted` names, else, where it is null or empty, the first.
const RowKernels& choose_row_kernels(const char* wanted,
                                     std::span<const RowKernels* const> runnable);

/// Chooses anew, while no kernel runs.
void use_row_kernels(const RowKernels& kernels);

}  // namespace axl
