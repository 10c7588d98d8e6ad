#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>

#include "axl/kernels/gemm.h"
#include "axl/tensor/arena.h"

namespace axl {

const char* gemm_backend() { return "onednn"; }

namespace detail {

const char* backend_isa() {
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

bool backend_hides_bf16() {
  const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return isa != dnnl_cpu_isa_all &&
         (isa & dnnl_cpu_isa_avx512_core_bf16) != dnnl_cpu_isa_avx512_core_bf16;
}

namespace {

// Rows that lie a multiple of this apart share a few sets of a core's first cache.
constexpr int64_t kConflictingFloats = 512;
// Rows of op(A)ᵀ and op(B) that are spread at once: their copies stay in the second cache.
constexpr int64_t kSpreadRows = 256;
constexpr int64_t kLineFloats = 16;

bool by_avx2() {
  static const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return isa == dnnl_cpu_isa_avx2 || isa == dnnl_cpu_isa_avx2_vnni;
}

// Where the library gathers panels across such rows by AVX2, it misses the cache with nearly each
// access. Measured for AᵀB of 256 x 512 x 1024 on a Zen 4 core, GFLOP/s by the rows' distance in
// floats: 1024 41, 512 71, 528 100; spread 92 and more. AVX-512 loses less than spreading costs.
bool is_gathered_badly(ConstMat x) {
  return by_avx2() && x.stride % kConflictingFloats == 0 && x.rows > 1;
}

/// Rows [begin, begin + count) of x, a line further apart than there, in `room`.
ConstMat spread(ConstMat x, int64_t begin, int64_t count, Buffer& room) {
  const int64_t stride = (x.cols + kLineFloats - 1) / kLineFloats * kLineFloats +
                         (x.cols % kConflictingFloats == 0 ? kLineFloats : 0);
  const size_t bytes = sizeof(float) * kSpreadRows * stride;
  if (room.bytes() < bytes) room = Buffer(bytes);
  const Mat to(room.floats(), count, x.cols, stride);
  for (int64_t i = 0; i < count; ++i) std::copy_n(x.row(begin + i), x.cols, to.row(i));
  return to;
}

// sgemm rather than a matmul primitive: within 3 % of its speed at our shapes, and it needs no
// code to be generated for a new one (prompts have any length).
void sgemm(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha) {
  const dnnl_status_t status =
      dnnl_sgemm(ta == Trans::kNo ? 'N' : 'T', tb == Trans::kNo ? 'N' : 'T', c.rows, c.cols,
                 ta == Trans::kNo ? a.cols : a.rows, alpha, a.data, a.stride, b.data, b.stride,
                 write == Write::kAdd ? 1.0f : 0.0f, c.data, c.stride);
  AXL_CHECK(status == dnnl_success);
}

}  // namespace

void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha) {
  const bool spread_a = ta == Trans::kYes && is_gathered_badly(a);
  const bool spread_b = tb == Trans::kNo && is_gathered_badly(b);
  if (!spread_a && !spread_b) return sgemm(ta, a, tb, b, c, write, alpha);
  thread_local Buffer room_a, room_b;
  const int64_t depth = ta == Trans::kNo ? a.cols : a.rows;
  for (int64_t k = 0; k < depth; k += kSpreadRows) {
    const int64_t count = std::min(kSpreadRows, depth - k);
    const ConstMat part_a = ta == Trans::kNo ? a.col_range(k, count)
                            : spread_a       ? spread(a, k, count, room_a)
                                             : a.row_range(k, count);
    const ConstMat part_b = tb == Trans::kYes ? b.col_range(k, count)
                            : spread_b        ? spread(b, k, count, room_b)
                                              : b.row_range(k, count);
    sgemm(ta, part_a, tb, part_b, c, k == 0 ? write : Write::kAdd, alpha);
  }
}

}  // namespace detail
}  // namespace axl
