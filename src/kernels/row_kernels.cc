// Compiled once per instruction set, each time with its flags (see CMakeLists.txt). The functions
// call nothing but each other and the compiler's builtins: an inline function or a template of any
// header would be shared with the rest of the program, and the linker could keep the copy that only
// some CPUs can run.
#include "row_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && \
    defined(__AVX512DQ__) && defined(__AVX512VL__)
#define AXL_ISA "avx512"
#define AXL_ROW_KERNELS kAvx512RowKernels
#define AXL_LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
#define AXL_ISA "avx2"
#define AXL_ROW_KERNELS kAvx2RowKernels
#define AXL_LANES 8
#else
#error "row_kernels.cc must be compiled for AVX2 or for AVX-512"
#endif

namespace axl {
namespace {

// ---- Scalars ------------------------------------------------------------------------------------

// e^x with relative error below 3e-7 on [-87, 88], clamped outside. Branch-free, so that loops over
// it vectorise: x = n·ln2 + r, |r| <= ln2/2, e^r by its Taylor polynomial, 2^n by exponent bits
// (Cody and Waite 1980).
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * __builtin_bit_cast(float, (static_cast<int32_t>(n) + 127) << 23);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

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

constexpr int kLanes = AXL_LANES;  // floats in a register
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

inline float horizontal_sum(Vector v) {
  float sums[4];  // in the order of a register cut in quarters
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    sums[i] = v[i];
#pragma GCC unroll 4
    for (int j = i + 4; j < kLanes; j += 4) sums[i] += v[j];
  }
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// Several sums, so that an addition need not wait for the one before it.
inline float dot_of(const float* x, const float* y, int64_t n) {
  constexpr int64_t kStep = 64, kSums = kStep / kLanes;
  Vector sums[kSums] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
#pragma GCC unroll 8
    for (int64_t s = 0; s < kSums; ++s)
      sums[s] += load(x + i + s * kLanes) * load(y + i + s * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += load(x + i) * load(y + i);
#pragma GCC unroll 8
  for (int64_t s = 1; s < kSums; ++s) sums[0] += sums[s];
  float sum = horizontal_sum(sums[0]);
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

using Four = float __attribute__((vector_size(16)));

// Quarters of a register, added.
inline Four quarters_added(Vector v) {
  Four quarters[kLanes / 4];
  __builtin_memcpy(quarters, &v, sizeof(v));
#pragma GCC unroll 4
  for (int i = 1; i < kLanes / 4; ++i) quarters[0] += quarters[i];
  return quarters[0];
}

// out[r] = scale · x · y[r] for four rows of y, whose lanes are added up together.
inline void four_dots(const float* x, const float* y, int64_t stride, int64_t d, float scale,
                      float* out) {
  Vector sums[4] = {};
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    const Vector own = load(x + i);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) sums[r] += own * load(y + r * stride + i);
  }
  const Four a = quarters_added(sums[0]), b = quarters_added(sums[1]);
  const Four c = quarters_added(sums[2]), e = quarters_added(sums[3]);
  const Four ab =
      __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four ce =
      __builtin_shufflevector(c, e, 0, 4, 1, 5) + __builtin_shufflevector(c, e, 2, 6, 3, 7);
  Four all =
      __builtin_shufflevector(ab, ce, 0, 1, 4, 5) + __builtin_shufflevector(ab, ce, 2, 3, 6, 7);
  for (; i < d; ++i)
    for (int r = 0; r < 4; ++r) all[r] += x[i] * y[r * stride + i];
  all *= scale;
  __builtin_memcpy(out, &all, sizeof(all));
}

void dots(const float* x, const float* y, int64_t stride, int64_t d, float scale, float* out,
          int64_t n) {
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) four_dots(x, y + j * stride, stride, d, scale, out + j);
  for (; j < n; ++j) out[j] = scale * dot_of(x, y + j * stride, d);
}

// Columns [begin, begin + kVectors · kLanes) of the sum stay in registers while all rows pass by.
template <int kVectors>
inline void weighted_columns(const float* p, const float* y, int64_t stride, float* out,
                             int64_t n) {
  Vector even[kVectors] = {}, odd[kVectors] = {};
  int64_t j = 0;
  for (; j + 2 <= n; j += 2) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      even[v] += p[j] * load(y + j * stride + v * kLanes);
      odd[v] += p[j + 1] * load(y + (j + 1) * stride + v * kLanes);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    if (j < n) even[v] += p[j] * load(y + j * stride + v * kLanes);
    even[v] += odd[v];
    __builtin_memcpy(out + v * kLanes, &even[v], sizeof(Vector));
  }
}

void weighted_sum(const float* p, const float* y, int64_t stride, int64_t d, float* out,
                  int64_t n) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) weighted_columns<4>(p, y + i, stride, out + i, n);
  for (; i + kLanes <= d; i += kLanes) weighted_columns<1>(p, y + i, stride, out + i, n);
  for (; i < d; ++i) {
    out[i] = 0;
    for (int64_t j = 0; j < n; ++j) out[i] += p[j] * y[j * stride + i];
  }
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

void softmax_backward(const float* p, float* dp, float scale, int64_t n) {
  const float mean = dot(p, dp, n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - mean) * scale;
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
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) act[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void swiglu_backward(const float* gate, const float* up, float* d, float* d_gate, float* d_up,
                     int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = sigmoid(gate[i]);
    d_up[i] = d[i] * gate[i] * s;
    d_gate[i] = d[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    d[i] = gate[i] * s * up[i];
  }
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
    .add = add,
    .add_scaled = add_scaled,
    .dot = dot,
    .dots = dots,
    .weighted_sum = weighted_sum,
    .sum_of_squares = sum_of_squares,
    .scaled_exp = scaled_exp,
    .log_sum_exp = log_sum_exp,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .rms_norm_again = rms_norm_again,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .unit_rms_backward = unit_rms_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rope = rope,
};

}  // namespace axl
