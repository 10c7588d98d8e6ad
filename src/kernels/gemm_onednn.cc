#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/gemm.h"
#include "copied_rows.h"
#include "row_kernels.h"

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

bool by_avx2() {
  static const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return isa == dnnl_cpu_isa_avx2 || isa == dnnl_cpu_isa_avx2_vnni;
}

// Rows a multiple of so many floats apart share a few sets of a core's first cache. Where the
// library gathers panels across such rows, it misses that cache with nearly each access. Measured
// for AᵀB of 256 x 512 x 1024 by AVX2 on a Zen 4 core, GFLOP/s by the rows' distance in floats:
// 1024 41, 512 71, 528 100. With AVX-512 those 512 apart lose less than another copy costs.
bool is_gathered_badly(ConstMat x) {
  return x.stride % (by_avx2() ? 512 : 1024) == 0 && x.rows > 1;
}

// A · B reads a panel of B at once: rows a page or more apart then also need a page each. Two
// threads of a Cascade Lake, GFLOP/s without and with a copy of B: 2048 x 1536 x 1536 198 and 227,
// 256 x 1536 x 1536 168 and 218, 128 x 1024 x 5632 111 and 138; by AVX2 128 x 2048 x 1024 78 and
// 117. Of 32 rows the copy costs more than it gains.
bool is_read_across_pages(ConstMat b, Mat c) {
  return b.stride % 512 == 0 && b.stride > 512 && c.rows >= 64;
}

// So many terms of each sum are copied at once: what a tile reads of them stays in the second
// cache.
constexpr int64_t kTransposedTerms = 128, kCopiedTerms = 512;
// A smaller C has too few sums for each element of A that is transposed.
constexpr int64_t kMinTransposed = 1 << 14;

// sgemm rather than a matmul primitive: within 3 % of its speed at our shapes, and it needs no
// code to be generated for a new one (prompts have any length).
void sgemm(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write, float alpha) {
  const dnnl_status_t status =
      dnnl_sgemm(ta == Trans::kNo ? 'N' : 'T', tb == Trans::kNo ? 'N' : 'T', c.rows, c.cols,
                 ta == Trans::kNo ? a.cols : a.rows, alpha, a.data, a.stride, b.data, b.stride,
                 write == Write::kAdd ? 1.0f : 0.0f, c.data, c.stride);
  AXL_CHECK(status == dnnl_success);
}

Mat copied(ConstMat x, Buffer& room) {
  const Mat to = copied_rows(room, x.rows, x.cols);
  copy(x, to);
  return to;
}

Mat transposed(ConstMat x, Buffer& room) {
  const Mat to = copied_rows(room, x.cols, x.rows);
  row_kernels().blocks->transpose(x.data, x.stride, x.rows, x.cols, to.data, to.stride);
  return to;
}

// C = αAB of a B that lies badly, some terms of each sum at a time.
void multiply_copied(ConstMat a, ConstMat b, Mat c, Write write, float alpha) {
  thread_local Buffer room;
  for (int64_t k = 0; k < b.rows; k += kCopiedTerms) {
    const int64_t count = std::min(kCopiedTerms, b.rows - k);
    sgemm(Trans::kNo, a.col_range(k, count), Trans::kNo, copied(b.row_range(k, count), room), c,
          k == 0 ? write : Write::kAdd, alpha);
  }
}

// C = αAᵀB, some terms of each sum at a time. The library multiplies a matrix that lies transposed
// more slowly than one that does not: two threads of a Cascade Lake, GFLOP/s of 245 for square
// matrices, with AᵀB at once and in parts: 1536 x 512 x 4096 201 and 222, 2816 x 1024 x 4096 163
// and 218, 1376 x 256 x 4096 204 and 211; of 145 by AVX2 110 and 127, 114 and 128, 119 and 128.
void multiply_transposed(ConstMat a, ConstMat b, Mat c, Write write, float alpha) {
  thread_local Buffer room_a, room_b;
  const bool copy_b = is_gathered_badly(b);
  for (int64_t k = 0; k < a.rows; k += kTransposedTerms) {
    const int64_t count = std::min(kTransposedTerms, a.rows - k);
    const ConstMat part_b = b.row_range(k, count);
    sgemm(Trans::kNo, transposed(a.row_range(k, count), room_a), Trans::kNo,
          copy_b ? ConstMat(copied(part_b, room_b)) : part_b, c, k == 0 ? write : Write::kAdd,
          alpha);
  }
}

}  // namespace

void gemm_backend_serial(Trans ta, ConstMat a, Trans tb, ConstMat b, Mat c, Write write,
                         float alpha) {
  if (ta == Trans::kYes && tb == Trans::kNo && (c.size() >= kMinTransposed || is_gathered_badly(a)))
    return multiply_transposed(a, b, c, write, alpha);
  if (ta == Trans::kNo && tb == Trans::kNo && is_read_across_pages(b, c))
    return multiply_copied(a, b, c, write, alpha);
  sgemm(ta, a, tb, b, c, write, alpha);
}

}  // namespace detail
}  // namespace axl
