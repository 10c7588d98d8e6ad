#pragma once

#include "axl/tensor/view.h"

namespace axl {

enum class Trans { kNo, kYes };
enum class Write { kAssign, kAdd };

/// What operands are rounded to on their way into a product. They are f32 in memory and so is every
/// sum: bf16 keeps f32's range with 8 significant bits, rounded to nearest even (subnormals: to 0).
enum class Precision { kF32, kBf16 };
const char* precision_name(Precision precision);  ///< "f32" or "bf16"
/// Whether this machine multiplies bf16: AVX512_BF16 that neither AXL_ISA nor ONEDNN_MAX_CPU_ISA
/// hides.
bool has_bf16();
/// Whether it does so faster than f32: with AMX, which AXL_ISA hides, or on AMD's CPUs. Measured on
/// a core of an Intel Xeon, AMX hidden: 92 to 105 GFLOP/s, in f32 160 to 170.
bool prefers_bf16();

/// C = alpha · op(A) · op(B), or C += …; op(A) [M, K], op(B) [K, N], C [M, N], all f32, row-major
/// with any stride. C aliases neither operand. The product is cut into tiles that depend on its
/// shape alone, so the result does not depend on the number of threads. bf16 needs has_bf16().
///
/// No signal handler may run meanwhile, on any thread that multiplies: in f32 oneDNN, up to 3.11.1
/// at least, may have its stack pointer in the heap, which the handler's frame then overwrites
/// (https://github.com/uxlfoundation/oneDNN/issues/4845). Keep signals from these threads, as axl
/// does (src/cli/signals.h), or give handlers a stack of their own.
void gemm(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha = 1.0f,
          Precision precision = Precision::kF32);

/// The same on the calling thread, for use inside parallel loops.
void gemm_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha = 1.0f,
                 Precision precision = Precision::kF32);

/// What multiplies f32: "onednn" or "eigen". bf16 is multiplied by axl itself.
const char* gemm_backend();
/// The instruction set that multiplies f32 or bf16 on this machine.
const char* gemm_isa(Precision precision = Precision::kF32);

namespace detail {
/// One product by the backend's library, on the calling thread; K >= 1, C not empty.
void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha);
/// y = x Wᵀ [+ y] for at most few_rows() rows of x, on the calling thread. x [R, K], W [N, K]. A
/// row's bits do not depend on the others. Ours, so that a short prompt does not wait for a library
/// to make code for its shapes.
void gemm_few_rows(ConstMat x, ConstMat w, Mat y, Write write);
/// Rows of x up to which gemm_few_rows is no slower than the backend.
int64_t few_rows();
/// gemm of bf16 operands, on all threads or, inside a parallel loop, on this one; K >= 1, C not
/// empty. The order of each sum depends on K alone.
void gemm_bf16(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha);
bool cpu_has_bf16();
bool cpu_prefers_bf16();
const char* bf16_isa();  ///< "amx_bf16" or "avx512_bf16"
const char* backend_isa();
/// Whether the backend's library was told to do without.
bool backend_hides_bf16();
}  // namespace detail

}  // namespace axl
