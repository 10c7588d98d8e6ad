#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "axl/formats/block_codec.h"
#include "axl/kernels/packed_gemm.h"
#include "testing.h"

namespace axl {

/// A coded matrix and the values that it stands for.
struct Coded {
  std::vector<std::byte> bytes;
  PackedMatrix matrix;
  Buffer panels;
  Matrix values;
  Coded(ElementType type, int64_t rows, int64_t cols, uint64_t seed) : values(rows, cols) {
    const Matrix original = random_matrix(rows, cols, seed);
    matrix = {type, nullptr, rows, cols};
    bytes.resize(matrix.bytes());
    encode_matrix(type, Matrix(original).view(), bytes.data());
    matrix.data = bytes.data();
    for (int64_t i = 0; i < rows; ++i) decode_row(matrix, i, values.view().row(i));
    pack();
  }
  /// Again after a change of `bytes`.
  void pack() {
    if (panel_bytes(matrix) == 0) return;
    panels = Buffer(panel_bytes(matrix));
    pack_panels(matrix, static_cast<std::byte*>(panels.data()));
  }
};

}  // namespace axl
