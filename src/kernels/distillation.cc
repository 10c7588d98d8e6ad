#include <algorithm>
#include <vector>

#include "axl/kernels/elementwise.h"
#include "axl/kernels/row_blocks.h"
#include "row_kernels.h"

namespace axl {
namespace {

/// p = softmax(x / temperature); returns log Σ e^(x / temperature).
float softened(const float* x, float temperature, int64_t n, float* p) {
  for (int64_t i = 0; i < n; ++i) p[i] = x[i] / temperature;
  return row_kernels().softmax(p, n);
}

}  // namespace

void distillation_backward(Mat logits, const SoftTargets& soft, std::span<const int32_t> targets,
                           float scale, float* nll, float* kl) {
  const RowKernels& kernels = row_kernels();
  const int64_t n = logits.cols;
  const float t = soft.temperature, soft_scale = scale * soft.alpha * t;
  const float hard_scale = scale * (1 - soft.alpha);
  for_row_blocks(logits.rows, [&](int64_t, int64_t begin, int64_t end) {
    std::vector<float> student(n), teacher(n);
    for (int64_t r = begin; r < end; ++r) {
      float* x = logits.row(r);
      const float* z = soft.logits.row(r);
      const int32_t target = targets[r];
      nll[r] = kl[r] = 0;
      if (target < 0) {
        std::fill_n(x, n, 0.0f);
        continue;
      }
      const float student_total = softened(x, t, n, student.data());
      const float teacher_total = softened(z, t, n, teacher.data());
      for (int64_t i = 0; i < n; ++i)
        kl[r] += teacher[i] * ((z[i] - x[i]) / t - teacher_total + student_total);
      const float total = kernels.log_sum_exp(x, n);
      nll[r] = total - x[target];
      kernels.scaled_exp(x, total, hard_scale, n);
      x[target] -= hard_scale;
      for (int64_t i = 0; i < n; ++i) x[i] += soft_scale * (student[i] - teacher[i]);
    }
  });
}

}  // namespace axl
