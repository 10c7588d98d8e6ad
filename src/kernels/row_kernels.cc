// Compiled once per instruction set, each time with its flags (see CMakeLists.txt).
#include "row_kernels.h"

#include <utility>

#include "vectors.h"

#if AXL_LANES == 16
#define AXL_ROW_KERNELS kAvx512RowKernels
#define AXL_BLOCK_KERNELS kAvx512BlockKernels
#else
#define AXL_ROW_KERNELS kAvx2RowKernels
#define AXL_BLOCK_KERNELS kAvx2BlockKernels
#endif

namespace axl {
namespace {

// ---- Scalars and vectors ------------------------------------------------------------------------

// At least e^-86, so that its product with x is no subnormal number, which takes Intel's CPUs 150
// cycles. Written for a vector: of a scalar the compiler knows the result beyond the limit and
// multiplies that by each x beside the other, to choose afterwards.
inline Vector sigmoid(Vector x) {
  x = x < -86.0f ? Vector{} - 86.0f : x;
  return 1.0f / (1.0f + fast_exp(-x));
}

// body(i, load, store) for each register of n floats; the last one may have some only.
template <class Body>
inline void for_each_vector(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    body(
        i, [](const float* p) { return load(p); }, [](Vector v, float* p) { store(v, p); });
  if (const int64_t rest = n - i)
    body(
        i, [rest](const float* p) { return load_some(p, rest); },
        [rest](Vector v, float* p) { store_some(v, p, rest); });
}

// ---- Sums ---------------------------------------------------------------------------------------

void add(const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void add_scaled(float a, const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

float dot(const float* x, const float* y, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

double sum_of_squares(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * x[i];
  return sum;
}

// Each lane whose number lacks the bit kHalf, added to the one that has it otherwise the same: a's
// sums are in the former lanes, b's in the latter.
template <int kHalf, int... i>
inline Vector halves_added(Vector a, Vector b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (i & kHalf ? kLanes + i - kHalf : i)...) +
         __builtin_shufflevector(a, b, (i & kHalf ? kLanes + i : i + kHalf)...);
}

// Lane i of the result is the sum over the lanes of v[i].
template <int kHalf = kLanes / 2>
inline Vector totals(Vector (&v)[kLanes]) {
#pragma GCC unroll 8
  for (int i = 0; i < kHalf; ++i)
    v[i] = halves_added<kHalf>(v[i], v[i + kHalf], std::make_integer_sequence<int, kLanes>());
  if constexpr (kHalf == 1)
    return v[0];
  else
    return totals<kHalf / 2>(v);
}

// sums[q][r] += x_q · y_r for kTogether rows of y; where only `count` are left, the last one stands
// for those that are missing.
template <int kXRows, int kTogether, bool kWhole, class T>
inline void add_dots(const float* x, int64_t x_stride, const T* y, int64_t y_stride, int64_t d,
                     int64_t count, Vector (&sums)[kXRows][kTogether]) {
  const auto add_columns = [&](int64_t i, const auto& load_columns) {
    Vector own[kXRows];
#pragma GCC unroll 4
    for (int q = 0; q < kXRows; ++q) own[q] = load_columns(x + q * x_stride + i);
    const T* row = y + i;
#pragma GCC unroll 4
    for (int r = 0; r < kTogether; ++r) {
      const Vector other = load_columns(row);
#pragma GCC unroll 4
      for (int q = 0; q < kXRows; ++q) sums[q][r] = multiply_add(own[q], other, sums[q][r]);
      row += kWhole || r + 1 < count ? y_stride : 0;
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) add_columns(i, [](const auto* p) { return load(p); });
  if (const int64_t rest = d - i)
    add_columns(i, [rest](const auto* p) { return load_some(p, rest); });
}

// kXRows rows of x with so many of y, or `count`, that their sums fill a register's lanes. Few rows
// of y are read side by side: CPUs fetch ahead what is read nearly as it lies in memory.
template <int kXRows, bool kWhole, class T>
inline void dots_tile(const float* x, int64_t x_stride, const T* y, int64_t y_stride, int64_t d,
                      float scale, float* out, int64_t out_stride, int64_t count) {
  constexpr int kYRows = kLanes / kXRows, kTogether = 4;
  static_assert(kYRows % kTogether == 0);
  Vector sums[kLanes];
#pragma GCC unroll 4
  for (int first = 0; first < kYRows; first += kTogether) {
    Vector group[kXRows][kTogether] = {};
    if (kWhole || first < count)
      add_dots<kXRows, kTogether, kWhole>(x, x_stride, y + first * y_stride, y_stride, d,
                                          count - first, group);
#pragma GCC unroll 4
    for (int q = 0; q < kXRows; ++q)
#pragma GCC unroll 4
      for (int r = 0; r < kTogether; ++r) sums[q * kYRows + first + r] = group[q][r];
  }
  const Vector all = totals(sums) * scale;
#pragma GCC unroll 4
  for (int q = 0; q < kXRows; ++q) {
    float own[kYRows];
    __builtin_memcpy(own, reinterpret_cast<const char*>(&all) + sizeof(own) * q, sizeof(own));
    __builtin_memcpy(out + q * out_stride, own, kWhole ? sizeof(own) : sizeof(float) * count);
  }
}

template <int kXRows, class T>
inline void dots_rows(const float* x, int64_t x_stride, RowsOf<T> y, int64_t d, float scale,
                      float* out, int64_t out_stride) {
  constexpr int kYRows = kLanes / kXRows;
  int64_t j = 0;
  for (; j + kYRows <= y.rows; j += kYRows)
    dots_tile<kXRows, true>(x, x_stride, y.data + j * y.stride, y.stride, d, scale, out + j,
                            out_stride, kYRows);
  if (j < y.rows)
    dots_tile<kXRows, false>(x, x_stride, y.data + j * y.stride, y.stride, d, scale, out + j,
                             out_stride, y.rows - j);
}

template <class T>
void dots(Rows x, RowsOf<T> y, int64_t d, float scale, float* out, int64_t out_stride) {
  constexpr int kTile = kLanes / 4;
  int64_t i = 0;
  for (; i + kTile <= x.rows; i += kTile)
    dots_rows<kTile>(x.data + i * x.stride, x.stride, y, d, scale, out + i * out_stride,
                     out_stride);
  for (; i < x.rows; ++i)
    dots_rows<1>(x.data + i * x.stride, x.stride, y, d, scale, out + i * out_stride, out_stride);
}

// kVectors · kLanes columns of the sums of kRows rows of p stay in registers while all rows of y
// pass by. With `some`, one vector that has so many columns.
template <int kRows, int kVectors, bool kSome, class T>
inline void weighted_columns(const float* p, int64_t p_stride, const T* y, int64_t y_stride,
                             int64_t n, float* out, int64_t out_stride, int64_t some) {
  const auto load_columns = [some](const T* from) {
    return kSome ? load_some(from, some) : load(from);
  };
  Vector even[kRows][kVectors] = {}, odd[kRows][kVectors] = {};
  int64_t j = 0;
  for (; j + 2 <= n; j += 2) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vector first = load_columns(y + j * y_stride + v * kLanes);
      const Vector second = load_columns(y + (j + 1) * y_stride + v * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        even[r][v] = multiply_add(all_lanes(p[r * p_stride + j]), first, even[r][v]);
        odd[r][v] = multiply_add(all_lanes(p[r * p_stride + j + 1]), second, odd[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      if (j < n)
        even[r][v] = multiply_add(all_lanes(p[r * p_stride + j]),
                                  load_columns(y + j * y_stride + v * kLanes), even[r][v]);
      const Vector all = even[r][v] + odd[r][v];
      float* to = out + r * out_stride + v * kLanes;
      kSome ? store_some(all, to, some) : store(all, to);
    }
  }
}

// Columns from `i` on: kVectors registers at a time, then half as many.
template <int kRows, int kVectors, class T>
inline void weighted_rows(const float* p, int64_t p_stride, RowsOf<T> y, int64_t d, float* out,
                          int64_t out_stride, int64_t i = 0) {
  for (; i + kVectors * kLanes <= d; i += kVectors * kLanes)
    weighted_columns<kRows, kVectors, false>(p, p_stride, y.data + i, y.stride, y.rows, out + i,
                                             out_stride, 0);
  if constexpr (kVectors > 1)
    weighted_rows<kRows, kVectors / 2>(p, p_stride, y, d, out, out_stride, i);
  else if (i < d)
    weighted_columns<kRows, 1, true>(p, p_stride, y.data + i, y.stride, y.rows, out + i, out_stride,
                                     d - i);
}

template <class T>
void weighted_sums(Rows p, RowsOf<T> y, int64_t d, float* out, int64_t out_stride) {
  constexpr int kVectors = kLanes == 16 ? 4 : 2;  // with two rows of p; with one twice as many
  int64_t i = 0;
  for (; i + 2 <= p.rows; i += 2)
    weighted_rows<2, kVectors>(p.data + i * p.stride, p.stride, y, d, out + i * out_stride,
                               out_stride);
  if (i < p.rows)
    weighted_rows<1, 2 * kVectors>(p.data + i * p.stride, p.stride, y, d, out + i * out_stride,
                                   out_stride);
}

float to_bytes(const float* x, int8_t* y, int64_t n) {
  float top = 0, poison = 0;
#pragma omp simd reduction(max : top) reduction(+ : poison)
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    top = magnitude > top ? magnitude : top;
    poison += x[i] * 0.0f;
  }
  const float inverse = top > 0 ? 127.0f / top : 0.0f;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bytes(load(x + i) * inverse, y + i);
  if (i < n) {
    int8_t last[kLanes];
    store_bytes(load_some(x + i, n - i) * inverse, last);
    for (int64_t k = 0; i + k < n; ++k) y[i + k] = last[k];
  }
  return top / 127.0f + poison;
}

void multiply(const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= x[i];
}

// ---- Exponentials -------------------------------------------------------------------------------

void scaled_exp(float* x, float shift, float scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = scale * fast_exp(x[i] - shift);
}

inline float maximum(const float* x, int64_t n) {
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

float log_sum_exp(const float* x, int64_t n) {
  const float top = maximum(x, n);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += fast_exp(x[i] - top);
  float poison = 0;  // fast_exp clamps: let a NaN among the inputs reach the result
#pragma omp simd reduction(+ : poison)
  for (int64_t i = 0; i < n; ++i) poison += x[i] * 0.0f;
  return top + __builtin_logf(sum) + poison;
}

float softmax(float* x, int64_t n) {
  const float top = maximum(x, n);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    x[i] = fast_exp(x[i] - top);
    sum += x[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= inverse;
  return top + __builtin_logf(sum);
}

// ---- RMSNorm ------------------------------------------------------------------------------------

void rms_norm_again(const float* x, const float* gain, float rstd, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * rstd * gain[i];
}

float rms_norm(const float* x, const float* gain, float eps, float* y, int64_t n) {
  const float rstd = 1.0f / __builtin_sqrtf(dot(x, x, n) / n + eps);
  rms_norm_again(x, gain, rstd, y, n);
  return rstd;
}

// y_i = x_i·r·g_i with r = rstd gives dx_i = r·g_i·dy_i − x_i·(r³/n)·Σ_j g_j·dy_j·x_j.
void rms_norm_backward(const float* x, const float* gain, float rstd, const float* dy, float* dx,
                       float* dgain, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    sum += gain[i] * dy[i] * x[i];
    dgain[i] += dy[i] * x[i] * rstd;
  }
  const float pull = sum * rstd * rstd * rstd / n;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] += rstd * gain[i] * dy[i] - x[i] * pull;
}

void unit_rms_backward(const float* u, float rstd, float pull, float a, const float* d_out,
                       float* du, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) du[i] = rstd * du[i] - u[i] * pull + a * d_out[i];
}

// ---- SwiGLU and RoPE ----------------------------------------------------------------------------

void swiglu(const float* gate, const float* up, float* act, int64_t n) {
  for_each_vector(n, [&](int64_t i, const auto& load_at, const auto& store_at) {
    const Vector g = load_at(gate + i);
    store_at(g * sigmoid(g) * load_at(up + i), act + i);
  });
}

void swiglu_backward(const float* gate, const float* up, float* d, float* d_gate, float* d_up,
                     int64_t n) {
  for_each_vector(n, [&](int64_t i, const auto& load_at, const auto& store_at) {
    const Vector g = load_at(gate + i), u = load_at(up + i), d_act = load_at(d + i);
    const Vector s = sigmoid(g), silu = g * s;
    store_at(d_act * silu, d_up + i);
    store_at(d_act * u * (s + silu * (1.0f - s)), d_gate + i);
    store_at(silu * u, d + i);
  });
}

void rope(float* x, const float* cos, const float* sin, float sign, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1], s = sign * sin[i];
    x[2 * i] = a * cos[i] - b * s;
    x[2 * i + 1] = a * s + b * cos[i];
  }
}

}  // namespace

const RowKernels AXL_ROW_KERNELS = {
    .isa = AXL_ISA,
    .blocks = &AXL_BLOCK_KERNELS,
    .add = add,
    .add_scaled = add_scaled,
    .dot = dot,
    .dots = dots<float>,
    .byte_dots = dots<int8_t>,
    .weighted_sums = weighted_sums<float>,
    .weighted_byte_sums = weighted_sums<int8_t>,
    .to_bytes = to_bytes,
    .multiply = multiply,
    .sum_of_squares = sum_of_squares,
    .scaled_exp = scaled_exp,
    .log_sum_exp = log_sum_exp,
    .softmax = softmax,
    .rms_norm_again = rms_norm_again,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .unit_rms_backward = unit_rms_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rope = rope,
};

}  // namespace axl
