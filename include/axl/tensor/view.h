#pragma once

#include <cstdint>
#include <type_traits>

#include "axl/base/error.h"

namespace axl {

/// A matrix that somebody else owns: `rows` x `cols`, row-major, rows `stride` elements apart.
/// Copying a view copies no data. Views never outlive the buffer they point into.
template <class T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;

  MatrixView() = default;
  MatrixView(T* data, int64_t rows, int64_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, int64_t rows, int64_t cols, int64_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}
  template <class U>
  requires std::is_same_v<const U, T> MatrixView(
      const MatrixView<U>& o)  // a mutable view is a read-only one
      : MatrixView(o.data, o.rows, o.cols, o.stride) {}

  T* row(int64_t i) const { return data + i * stride; }
  T& operator()(int64_t i, int64_t j) const { return data[i * stride + j]; }
  int64_t size() const { return rows * cols; }
  bool empty() const { return rows == 0 || cols == 0; }
  bool contiguous() const { return stride == cols || rows <= 1; }

  MatrixView row_range(int64_t begin, int64_t count) const {
    AXL_CHECK(begin >= 0 && count >= 0 && begin + count <= rows);
    return {row(begin), count, cols, stride};
  }
  MatrixView col_range(int64_t begin, int64_t count) const {
    AXL_CHECK(begin >= 0 && count >= 0 && begin + count <= cols);
    return {data + begin, rows, count, stride};
  }
  /// The same elements as `r` rows of `c`; contiguous views only.
  MatrixView reshaped(int64_t r, int64_t c) const {
    AXL_CHECK(contiguous() && r * c == size());
    return {data, r, c};
  }
};

using Mat = MatrixView<float>;
using ConstMat = MatrixView<const float>;

/// Rows of 8 bits: element j of row i is scales[i] · codes(i, j), codes from −127 to 127.
template <class Code, class Scale>
struct ScaledView {
  MatrixView<Code> codes;
  Scale* scales = nullptr;
  int64_t rows = 0, cols = 0;

  ScaledView() = default;
  ScaledView(MatrixView<Code> codes, Scale* scales)
      : codes(codes), scales(scales), rows(codes.rows), cols(codes.cols) {}
  template <class OtherCode, class OtherScale>
  ScaledView(const ScaledView<OtherCode, OtherScale>& o) : ScaledView(o.codes, o.scales) {}

  ScaledView row_range(int64_t begin, int64_t count) const {
    return {codes.row_range(begin, count), scales + begin};
  }
};
using ScaledMat = ScaledView<int8_t, float>;
using ConstScaledMat = ScaledView<const int8_t, const float>;

}  // namespace axl
