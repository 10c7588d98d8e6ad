#include "axl/kernels/elementwise.h"

#include <cmath>
#include <cstring>

#include "axl/kernels/row_blocks.h"
#include "vector_math.h"

namespace axl {

void fill(Mat x, float value) {
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::fill_n(x.row(r), x.cols, value);
  });
}

void copy(ConstMat from, Mat to) {
  AXL_CHECK(from.rows == to.rows && from.cols == to.cols);
  for_row_blocks(from.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(to.row(r), from.row(r), sizeof(float) * from.cols);
  });
}

void add(ConstMat x, Mat y) {
  AXL_CHECK(x.rows == y.rows && x.cols == y.cols);
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x.row(r);
      float* yr = y.row(r);
#pragma omp simd
      for (int64_t i = 0; i < x.cols; ++i) yr[i] += xr[i];
    }
  });
}

double sum_of_squares(const float* x, int64_t n) {
  double partial[kPartials] = {};
  parallel_for(kPartials, [&](int64_t b) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = b * n / kPartials; i < (b + 1) * n / kPartials; ++i)
      sum += double(x[i]) * x[i];
    partial[b] = sum;
  });
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

void rms_norm_again(ConstMat x, ConstMat gain, const float* rstd, Mat y) {
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x.row(r);
      float* yr = y.row(r);
      const float scale = rstd[r];
#pragma omp simd
      for (int64_t i = 0; i < x.cols; ++i) yr[i] = xr[i] * scale * gain.data[i];
    }
  });
}

void rms_norm(ConstMat x, ConstMat gain, float eps, Mat y, float* rstd) {
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x.row(r);
      float* yr = y.row(r);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < x.cols; ++i) sum += xr[i] * xr[i];
      const float scale = 1.0f / std::sqrt(sum / x.cols + eps);
      rstd[r] = scale;
#pragma omp simd
      for (int64_t i = 0; i < x.cols; ++i) yr[i] = xr[i] * scale * gain.data[i];
    }
  });
}

// y_i = x_i·r·g_i with r = rstd gives dx_i = r·g_i·dy_i − x_i·(r³/D)·Σ_j g_j·dy_j·x_j.
void rms_norm_backward(ConstMat x, ConstMat gain, const float* rstd, ConstMat dy, Mat dx, Mat dgain,
                       Mat partials) {
  const float* g = gain.data;
  for_row_blocks(x.rows, [&](int64_t block, int64_t begin, int64_t end) {
    float* partial = partials.row(block);
    std::fill_n(partial, x.cols, 0.0f);
    for (int64_t r = begin; r < end; ++r) {
      const float *xr = x.row(r), *dyr = dy.row(r);
      float* dxr = dx.row(r);
      const float scale = rstd[r];
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t i = 0; i < x.cols; ++i) {
        dot += g[i] * dyr[i] * xr[i];
        partial[i] += dyr[i] * xr[i] * scale;
      }
      const float pull = dot * scale * scale * scale / x.cols;
#pragma omp simd
      for (int64_t i = 0; i < x.cols; ++i) dxr[i] += scale * g[i] * dyr[i] - xr[i] * pull;
    }
  });
  add_partials(x.rows, partials, dgain);
}

void swiglu(ConstMat gate_up, Mat act) {
  const int64_t f = act.cols;
  for_row_blocks(act.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *gate = gate_up.row(r), *up = gate + f;
      float* out = act.row(r);
#pragma omp simd
      for (int64_t i = 0; i < f; ++i) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
  });
}

void swiglu_backward(ConstMat gate_up, Mat d_act, Mat d_gate_up) {
  const int64_t f = d_act.cols;
  for_row_blocks(d_act.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *gate = gate_up.row(r), *up = gate + f;
      float *d = d_act.row(r), *d_gate = d_gate_up.row(r), *d_up = d_gate + f;
#pragma omp simd
      for (int64_t i = 0; i < f; ++i) {
        const float s = sigmoid(gate[i]);
        d_up[i] = d[i] * gate[i] * s;
        d_gate[i] = d[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
        d[i] = gate[i] * s * up[i];
      }
    }
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
  const int64_t half = table.cos.cols, heads = x.cols / (2 * half);
  const float sign = inverse ? -1.0f : 1.0f;
  for_row_blocks(x.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* cos = table.cos.row(first + step * r);
      const float* sin = table.sin.row(first + step * r);
      for (int64_t h = 0; h < heads; ++h) {
        float* v = x.row(r) + h * 2 * half;
#pragma omp simd
        for (int64_t i = 0; i < half; ++i) {
          const float a = v[2 * i], b = v[2 * i + 1], s = sign * sin[i];
          v[2 * i] = a * cos[i] - b * s;
          v[2 * i + 1] = a * s + b * cos[i];
        }
      }
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
  for_row_blocks(out.rows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (ids[r] < 0) continue;
      const float* from = table.row(ids[r]);
      float* to = out.row(r);
#pragma omp simd
      for (int64_t i = 0; i < table.cols; ++i) to[i] += from[i];
    }
  });
}

void scatter_add_rows(ConstMat d_out, std::span<const int32_t> ids, Mat d_table) {
  // Each thread owns some columns of every row: no two threads write one element, and every element
  // is summed in row order.
  constexpr int64_t kColumns = 32;
  parallel_for((d_out.cols + kColumns - 1) / kColumns, [&](int64_t block) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, d_out.cols - begin);
    for (int64_t r = 0; r < d_out.rows; ++r) {
      const float* from = d_out.row(r) + begin;
      float* to = d_table.row(ids[r]) + begin;
      for (int64_t i = 0; i < count; ++i) to[i] += from[i];
    }
  });
}

}  // namespace axl
