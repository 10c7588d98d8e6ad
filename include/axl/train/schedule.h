#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace axl {

/// When a run ends: after `steps` updates or `seconds`, whichever comes first; 0 is no limit.
struct RunLimits {
  int64_t steps = 0;
  double seconds = 0;

  /// Share of the run that is done, in [0, 1].
  double progress(int64_t step, double elapsed) const {
    const double by_steps = steps > 0 ? static_cast<double>(step) / steps : 0.0;
    const double by_time = seconds > 0 ? elapsed / seconds : 0.0;
    return std::min(1.0, std::max(by_steps, by_time));
  }
};

/// Learning rate: linear warm-up over `warmup_steps`, then constant, or a half cosine over the
/// whole run that ends at min_ratio · peak (arXiv:1608.03983 without restarts). It follows the
/// run's progress, so it ends annealed whether steps or time run out first.
struct Schedule {
  double peak = 1e-3;
  int64_t warmup_steps = 0;
  bool cosine = true;
  double min_ratio = 0.0;

  double learning_rate(int64_t step, double progress) const {
    const double warmup =
        warmup_steps > 0 ? std::min(1.0, static_cast<double>(step + 1) / warmup_steps) : 1.0;
    const double shape =
        cosine ? min_ratio + (1 - min_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * progress))
               : 1.0;
    return peak * warmup * shape;
  }
};

}  // namespace axl
