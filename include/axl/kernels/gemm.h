#pragma once

#include "axl/tensor/view.h"

namespace axl {

enum class Trans { kNo, kYes };
enum class Write { kAssign, kAdd };

/// C = alpha · op(A) · op(B), or C += …; op(A) [M, K], op(B) [K, N], C [M, N], all f32, row-major
/// with any stride. C aliases neither operand. The product is cut into tiles that depend on its
/// shape alone, so the result does not depend on the number of threads.
void gemm(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha = 1.0f);

/// The same on the calling thread, for use inside parallel loops.
void gemm_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                 float alpha = 1.0f);

/// "onednn" or "eigen".
const char* gemm_backend();
/// The instruction set that the backend uses on this machine.
const char* gemm_isa();

namespace detail {
/// One product by the backend's library, on the calling thread; K >= 1, C not empty.
void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha);
/// y = alpha · x Wᵀ [+ y] for a few rows of x: reads each weight once. x [R, K], W [N, K], R <= 4.
void gemv(ConstMat x, ConstMat w, Mat y, Write write, float alpha);
inline constexpr int64_t kGemvRows = 4;
}  // namespace detail

}  // namespace axl
