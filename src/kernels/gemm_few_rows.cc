#include "axl/kernels/gemm.h"
#include "axl/kernels/packed_gemm.h"

namespace axl::detail {

void gemm_few_rows(ConstMat x, ConstMat w, Mat y, Write write) {
  AXL_CHECK(x.rows <= few_rows());
  const auto row_bytes = static_cast<int64_t>(sizeof(float)) * w.stride;
  chosen_packed_products().f32({reinterpret_cast<const std::byte*>(w.data), row_bytes, w.rows,
                                w.cols, x.data, x.stride, x.rows, y.data, y.stride,
                                write == Write::kAdd});
}

int64_t few_rows() { return chosen_packed_products().f32_few_rows; }

}  // namespace axl::detail
