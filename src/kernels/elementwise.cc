#include "axl/kernels/elementwise.h"

#include <cmath>
#include <cstring>

#include "axl/kernels/row_blocks.h"
#include "row_kernels.h"

namespace axl {

void fill(Mat x, float value) {
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::fill_n(x.row(r), x.cols, value);
  });
}

void set_zero(float* x, int64_t n) {
  constexpr int64_t kChunk = 1 << 16;
  parallel_for((n + kChunk - 1) / kChunk, [&](int64_t i) {
    const int64_t begin = i * kChunk;
    std::fill_n(x + begin, std::min(kChunk, n - begin), 0.0f);
  });
}

void copy(ConstMat from, Mat to) {
  AXL_CHECK(from.rows == to.rows && from.cols == to.cols);
  for_row_blocks(from.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(to.row(r), from.row(r), sizeof(float) * from.cols);
  });
}

void copy(ConstMat from, ScaledMat to) {
  AXL_CHECK(from.rows == to.rows && from.cols == to.cols);
  const RowKernels& kernels = row_kernels();
  for_row_blocks(from.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      to.scales[r] = kernels.to_bytes(from.row(r), to.codes.row(r), from.cols);
  });
}

void add(ConstMat x, Mat y) {
  AXL_CHECK(x.rows == y.rows && x.cols == y.cols);
  const RowKernels& kernels = row_kernels();
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) kernels.add(x.row(r), y.row(r), x.cols);
  });
}

double sum_of_squares(const float* x, int64_t n) {
  const RowKernels& kernels = row_kernels();
  double partial[kPartials] = {};
  parallel_for(kPartials, [&](int64_t b) {
    const int64_t begin = b * n / kPartials, end = (b + 1) * n / kPartials;
    partial[b] = kernels.sum_of_squares(x + begin, end - begin);
  });
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

void rms_norm_again(ConstMat x, ConstMat gain, const float* rstd, Mat y) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernels.rms_norm_again(x.row(r), gain.data, rstd[r], y.row(r), x.cols);
  });
}

void rms_norm(ConstMat x, ConstMat gain, float eps, Mat y, float* rstd) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      rstd[r] = kernels.rms_norm(x.row(r), gain.data, eps, y.row(r), x.cols);
  });
}

void rms_norm_backward(ConstMat x, ConstMat gain, const float* rstd, ConstMat dy, Mat dx, Mat dgain,
                       Mat partials) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(x.rows, [&](int64_t block, int64_t begin, int64_t end) {
    float* partial = partials.row(block);
    std::fill_n(partial, x.cols, 0.0f);
    for (int64_t r = begin; r < end; ++r)
      kernels.rms_norm_backward(x.row(r), gain.data, rstd[r], dy.row(r), dx.row(r), partial,
                                x.cols);
  });
  add_partials(x.rows, partials, dgain);
}

void swiglu(ConstMat gate_up, Mat act) {
  const RowKernels& kernels = row_kernels();
  const int64_t f = act.cols;
  for_row_blocks(act.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernels.swiglu(gate_up.row(r), gate_up.row(r) + f, act.row(r), f);
  });
}

void swiglu_backward(ConstMat gate_up, Mat d_act, Mat d_gate_up) {
  const RowKernels& kernels = row_kernels();
  const int64_t f = d_act.cols;
  for_row_blocks(d_act.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernels.swiglu_backward(gate_up.row(r), gate_up.row(r) + f, d_act.row(r), d_gate_up.row(r),
                              d_gate_up.row(r) + f, f);
  });
}

void fill_rope_table(double theta, RopeTable table) {
  const int64_t half = table.cos.cols;
  parallel_for(table.cos.rows, [&](int64_t position) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = position * std::pow(theta, -double(i) / half);
      table.cos(position, i) = static_cast<float>(std::cos(angle));
      table.sin(position, i) = static_cast<float>(std::sin(angle));
    }
  });
}

void rope(Mat x, const RopeTable& table, int64_t first, int64_t step, bool inverse) {
  const RowKernels& kernels = row_kernels();
  const int64_t half = table.cos.cols, heads = x.cols / (2 * half);
  const float sign = inverse ? -1.0f : 1.0f;
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* cos = table.cos.row(first + step * r);
      const float* sin = table.sin.row(first + step * r);
      for (int64_t h = 0; h < heads; ++h)
        kernels.rope(x.row(r) + h * 2 * half, cos, sin, sign, half);
    }
  });
}

void gather_rows(ConstMat table, std::span<const int32_t> ids, Mat out) {
  for_row_blocks(out.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(out.row(r), table.row(ids[r]), sizeof(float) * table.cols);
  });
}

void gather_add_rows(ConstMat table, std::span<const int32_t> ids, Mat out) {
  const RowKernels& kernels = row_kernels();
  for_row_blocks(out.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      if (ids[r] >= 0) kernels.add(table.row(ids[r]), out.row(r), table.cols);
  });
}

void scatter_add_rows(ConstMat d_out, std::span<const int32_t> ids, Mat d_table) {
  // Each thread owns some columns of every row: no two threads write one element, and every element
  // is summed in row order.
  const RowKernels& kernels = row_kernels();
  constexpr int64_t kColumns = 32;
  parallel_for((d_out.cols + kColumns - 1) / kColumns, [&](int64_t block) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, d_out.cols - begin);
    for (int64_t r = 0; r < d_out.rows; ++r)
      kernels.add(d_out.row(r) + begin, d_table.row(ids[r]) + begin, count);
  });
}

}  // namespace axl
