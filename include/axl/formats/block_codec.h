#pragma once

#include <cstddef>
#include <cstdint>

#include "axl/tensor/packed.h"
#include "axl/tensor/view.h"

namespace axl {

/// Codes a row of `cols` floats as `type` (any but I32), padded with zeros to whole blocks, into
/// the row_bytes() of a PackedMatrix of that type. F32, F16 and BF16 round each value to nearest;
/// Q8_0 is d = max|x| / 127, q = round(x / d); the others search scales for which
/// sum w (x - decoded)^2 is small, w = |x| + root of the block's mean square, so that large weights
/// count more. Blocks clip values at +-65504; values must be finite. The padding decodes to about
/// zero, not always to zero: readers leave it out. A row's code depends on that row alone.
void encode_row(ElementType type, const float* x, int64_t cols, std::byte* out);

/// The `cols` values that such a row stands for, exactly as ggml gives them: no choice of
/// instructions changes a bit.
void decode_row(ElementType type, const std::byte* row, int64_t cols, float* out);

/// encode_row of each row, on all threads: `out` holds as many bytes as the PackedMatrix of this
/// type and shape.
void encode_matrix(ElementType type, ConstMat x, std::byte* out);

/// Row `i` of a matrix: matrix.cols floats.
inline void decode_row(const PackedMatrix& matrix, int64_t i, float* out) {
  decode_row(matrix.type, matrix.row(i), matrix.cols, out);
}

}  // namespace axl
