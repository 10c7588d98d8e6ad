#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "axl/kernels/gemm.h"
#include "axl/tensor/packed.h"
#include "axl/tensor/view.h"

/// Products with weights that stay coded (tensor/packed.h).
///
/// For block-coded weights a row of activations is rounded to 8 bits in blocks of 32 neighbours
/// that share the scale max|x| / 127, and sums within a block are integers: exact, so that every
/// instruction set gives the same bits. Their rows are interleaved once, when a model is loaded
/// (pack_panels): products read nothing else. Plain f32, f16 and bf16 weights multiply f32
/// activations, row by row, or by the GEMM after decoding where x has many rows.
namespace axl {

/// The types that packed_gemm multiplies: f32, f16, bf16, q8_0, q4_k, q6_k.
bool packed_gemm_reads(ElementType type);

/// "avx512_vnni", or "avx2" where the CPU lacks it or AXL_ISA says so.
const char* packed_gemm_isa();

/// Bytes that pack_panels needs for a matrix, a multiple of 64; 0 for plain weights, which are
/// multiplied as they are.
int64_t panel_bytes(const PackedMatrix& w);
/// Interleaves the rows of a block-coded matrix as the chosen instruction set multiplies them. `to`
/// is zeroed memory of panel_bytes(w), which w points to afterwards and does not own.
void pack_panels(PackedMatrix& w, std::byte* to);

/// y = x Wᵀ, or y += …; x [R, K], y [R, N]. W [N, K] is given as consecutive runs of its rows, all
/// of width K; empty runs are skipped, at most three others; those of block-coded rows have panels.
/// y aliases nothing. An element of y depends on its own rows of x and W alone and not on the
/// number of threads. For block-coded weights it does not depend on R either, nor for plain ones
/// with few rows.
void packed_gemm(ConstMat x, std::span<const PackedMatrix> w, Mat y, Write write);

/// One of the products that packed_gemm makes together: y = f(x) Wᵀ, or += (x [R, K], y [R, N], R
/// below detail::kManyRows). f is the identity, or with a gain [K] RMSNorm(x + plus; gain). y
/// aliases no operand of any of them.
struct PackedProduct {
  ConstMat x;
  ConstMat plus = {};  ///< [R, K], or empty: nothing
  const float* gain = nullptr;
  std::array<const PackedMatrix*, 3> w = {};  ///< consecutive runs of rows, or null
  Mat y;
  Mat act =
      {};  ///< where given, y = [gate, up] of two such runs, and act [R, N / 2] = silu(gate) · up
  Write write = Write::kAssign;
};

/// `count` products, each described by at(of, i).
struct PackedProductList {
  int64_t count;
  const void* of;
  PackedProduct (*at)(const void* of, int64_t i);
};

/// All of them in one loop over threads, which take rows of W, and ask for descriptions and prepare
/// f(x) each for itself: for few rows that costs less than to pass them from core to core. Elements
/// as above.
void packed_gemm(PackedProductList products, float eps);

/// out[r] = row ids[r] of a bf16 table, added; nothing where ids[r] is negative. out [R,
/// table.cols].
void gather_add_packed_rows(const PackedMatrix& table, std::span<const int32_t> ids, Mat out);

namespace detail {

/// 256 neighbours of a row of activations: 8 blocks of 32.
struct alignas(64) ActivationBlock {
  static constexpr int64_t kElements = 256;
  int8_t q[256];
  int32_t less_128[8];  ///< −128 Σ q of a block
  int32_t less_32[16];  ///< −32 Σ q of half a block
  float scale[8];       ///< of a block
  // The sum of a block, scale · Σ q, is sum_unit · (256 sums_256 + sums_1): 16 bits of the largest.
  int8_t sums_256[8], sums_1[8];
  float sum_unit;
};

/// Rows of activations for which plain weights are worth decoding.
inline constexpr int64_t kManyRows = 16;

/// y [x_rows, rows] = x Wᵀ, or +=, on the calling thread: W as consecutive panels and x as whole
/// ActivationBlocks (CodedProduct), or rows of W at row_bytes and of x at x_stride elements
/// (PlainProduct).
struct CodedProduct {
  const std::byte* panels;
  int64_t rows, cols;
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
  int64_t panel_rows;  ///< rows of W that a panel interleaves
  struct Coded {
    int64_t (*panel_bytes)(int64_t cols);
    /// One panel of rows from `row` on, `rows` of them or as many as it holds, into zeroed memory.
    void (*pack)(const std::byte* row, int64_t row_bytes, int64_t rows, int64_t cols,
                 std::byte* panel);
    void (*multiply)(const CodedProduct&);
  };
  Coded q8_0, q4_k, q6_k;
  void (*bf16)(const PlainProduct&);
  void (*f16)(const PlainProduct&);
  void (*f32)(const PlainProduct&);
  int64_t f32_few_rows;  ///< few_rows()
};
/// Those that this CPU runs, the best last.
std::span<const PackedProducts> packed_products();
/// The one that kernel_isa() allows.
const PackedProducts& chosen_packed_products();
/// A row of f32, f16 or bf16.
void decode_plain_row(ElementType type, const std::byte* w, int64_t cols, float* out);
/// Rounds a row of activations to 8 bits.
void quantize_activations(const float* x, int64_t cols, ActivationBlock* out);

}  // namespace detail
}  // namespace axl
