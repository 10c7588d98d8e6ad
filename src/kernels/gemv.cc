#include "axl/kernels/gemm.h"
#include "axl/kernels/packed_gemm.h"

namespace axl::detail {

void gemv(ConstMat x, ConstMat w, Mat y, Write write) {
  const auto row_bytes = static_cast<int64_t>(sizeof(float)) * w.stride;
  chosen_packed_products().f32({reinterpret_cast<const std::byte*>(w.data), row_bytes, w.rows,
                                w.cols, x.data, x.stride, x.rows, y.data, y.stride,
                                write == Write::kAdd});
}

}  // namespace axl::detail
