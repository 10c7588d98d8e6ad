#include <oneapi/dnnl/dnnl.hpp>

#include "axl/kernels/gemm.h"

namespace axl {

const char* gemm_backend() { return "onednn"; }

const char* gemm_isa() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse4.1";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
      return "avx512";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_bf16";
    default:
      return "avx512_amx";
  }
}

namespace detail {

bool backend_hides_bf16() {
  const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return isa != dnnl_cpu_isa_all &&
         (isa & dnnl_cpu_isa_avx512_core_bf16) != dnnl_cpu_isa_avx512_core_bf16;
}

// sgemm rather than a matmul primitive: within 3 % of its speed at our shapes, and it needs no
// code to be generated for a new one (prompts have any length).
void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha) {
  const dnnl_status_t status =
      dnnl_sgemm(ta == Trans::kNo ? 'N' : 'T', tb == Trans::kNo ? 'N' : 'T', c.rows, c.cols,
                 ta == Trans::kNo ? a.cols : a.rows, alpha, a.data, a.stride, b.data, b.stride,
                 write == Write::kAdd ? 1.0f : 0.0f, c.data, c.stride);
  AXL_CHECK(status == dnnl_success);
}

}  // namespace detail
}  // namespace axl
