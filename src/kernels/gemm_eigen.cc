#include <Eigen/Core>

#include "axl/kernels/gemm.h"

namespace axl {

const char* gemm_backend() { return "eigen"; }

namespace detail {

const char* backend_isa() {
#if defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#else
  return "baseline";
#endif
}

bool backend_hides_bf16() { return false; }

namespace {
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Stride = Eigen::OuterStride<>;
using Map = Eigen::Map<Matrix, 0, Stride>;
using ConstMap = Eigen::Map<const Matrix, 0, Stride>;

template <class A, class B>
void multiply(const A& a, const B& b, Map c, Write write, float alpha) {
  if (write == Write::kAdd)
    c.noalias() += alpha * (a * b);
  else
    c.noalias() = alpha * (a * b);
}
}  // namespace

void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha) {
  const ConstMap ma(a.data, a.rows, a.cols, Stride(a.stride));
  const ConstMap mb(b.data, b.rows, b.cols, Stride(b.stride));
  const Map mc(c.data, c.rows, c.cols, Stride(c.stride));
  if (ta == Trans::kNo && tb == Trans::kNo) multiply(ma, mb, mc, write, alpha);
  if (ta == Trans::kNo && tb == Trans::kYes) multiply(ma, mb.transpose(), mc, write, alpha);
  if (ta == Trans::kYes && tb == Trans::kNo) multiply(ma.transpose(), mb, mc, write, alpha);
  if (ta == Trans::kYes && tb == Trans::kYes)
    multiply(ma.transpose(), mb.transpose(), mc, write, alpha);
}

}  // namespace detail
}  // namespace axl
