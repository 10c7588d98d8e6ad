#pragma once

#include <cstddef>
#include <span>

#include "axl/kernels/gemm.h"
#include "axl/tensor/packed.h"
#include "axl/tensor/view.h"

/// Products with weights that stay coded as their file has them (tensor/packed.h).
///
/// For block-coded weights a row of activations is rounded to 8 bits in blocks of 32 neighbours
/// that share the scale max|x| / 127, and sums within a block are integers: exact, so that every
/// instruction set gives the same bits. Plain f32, f16 and bf16 weights multiply f32 activations.
/// With many rows of activations weights are decoded once for all of them: by kernels of our own
/// for block-coded ones where the CPU has VNNI, else to f32, which the GEMM then multiplies by the
/// same (rounded) activations.
namespace axl {

/// The types that packed_gemm multiplies: f32, f16, bf16, q8_0, q4_k, q6_k.
bool packed_gemm_reads(ElementType type);

/// "avx512_vnni", or "avx2" where the CPU lacks it or AXL_ISA says so.
const char* packed_gemm_isa();

/// y = x Wᵀ, or y += …; x [R, K], y [R, N]. W [N, K] is given as consecutive runs of its rows, all
/// of width K; empty runs are skipped. y aliases nothing. An element of y depends on its own rows
/// of x and W alone and not on the number of threads. For few rows R it does not depend on R; for
/// many it is summed in another order, which may follow R.
void packed_gemm(ConstMat x, std::span<const PackedMatrix> w, Mat y, Write write);

/// out[r] = row ids[r] of a bf16 table, added; nothing where ids[r] is negative. out [R,
/// table.cols].
void gather_add_packed_rows(const PackedMatrix& table, std::span<const int32_t> ids, Mat out);

namespace detail {

/// 256 neighbours of a row of activations: 8 blocks of 32.
struct alignas(64) ActivationBlock {
  static constexpr int64_t kElements = 256;
  int8_t q[256];
  int32_t offset[64];    ///< −128 · the sum of 4 neighbours of q
  int32_t half_sum[16];  ///< Σ q of half a block
  float half_scale[16];  ///< of half a block: that of its block
  float scale[8];        ///< of a block
  float sum[8];          ///< of a block: scale · Σ q
};

/// Rows of activations for which weights are worth unpacking.
inline constexpr int64_t kManyRows = 16;

/// y [x_rows, rows] = x Wᵀ, or +=, on the calling thread: rows of W follow each other at row_bytes,
/// of x at x_stride elements (PlainProduct) or as whole ActivationBlocks (CodedProduct).
struct CodedProduct {
  const std::byte* w;
  int64_t row_bytes, rows, cols;
  const ActivationBlock* x;
  int64_t x_rows;
  float* y;
  int64_t y_stride;
  bool add;
};
struct PlainProduct {
  const std::byte* w;
  int64_t row_bytes, rows, cols;
  const float* x;
  int64_t x_stride, x_rows;
  float* y;
  int64_t y_stride;
  bool add;
};

/// The products of one instruction set.
struct PackedProducts {
  const char* isa;
  struct Coded {
    void (*few)(const CodedProduct&);
    void (*many)(const CodedProduct&);  ///< for kManyRows rows of x and more, or null
  };
  Coded q8_0, q4_k, q6_k;
  void (*bf16)(const PlainProduct&);
  void (*f16)(const PlainProduct&);
  void (*f32)(const PlainProduct&);
};
/// Those that this CPU runs, the best last.
std::span<const PackedProducts> packed_products();
/// The one that kernel_isa() allows.
const PackedProducts& chosen_packed_products();
/// A row of one of the types that packed_gemm_reads.
void decode_packed_row(ElementType type, const std::byte* w, int64_t cols, float* out);
/// Rounds a row of activations to 8 bits.
void quantize_activations(const float* x, int64_t cols, ActivationBlock* out);

}  // namespace detail
}  // namespace axl
