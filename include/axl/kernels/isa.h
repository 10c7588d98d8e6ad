#pragma once

namespace axl {

/// The instruction set of all kernels but the products that gemm_backend() multiplies: "avx512" (F,
/// BW, CD, DQ and VL) or "avx2" (with FMA). Chosen once, at the first call: the one that the
/// environment variable AXL_ISA names, else the best that this CPU has. Throws UsageError where
/// AXL_ISA names no instruction set or one that the CPU lacks, Error where the CPU has none of
/// them.
///
/// The first kernel to run chooses too, but inside a parallel loop its error ends the program: call
/// this first. Sums are cut differently by each, so that results differ in their last bits.
const char* kernel_isa();

}  // namespace axl
