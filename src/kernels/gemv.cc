#include "axl/kernels/gemm.h"
#include "row_kernels.h"

namespace axl::detail {

void gemv(ConstMat x, ConstMat w, Mat y, Write write, float alpha) {
  const auto dot = row_kernels().streaming_dot;
  for (int64_t n = 0; n < w.rows; ++n)
    for (int64_t r = 0; r < x.rows; ++r)
      y(r, n) = (write == Write::kAdd ? y(r, n) : 0.0f) + alpha * dot(x.row(r), w.row(n), x.cols);
}

}  // namespace axl::detail
