#include "scale_search.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "axl/tensor/half.h"

namespace axl {
namespace {

constexpr float kTooSmall = 1e-20f;  // far below the least f16, and its inverse is a float

/// Weighted sums over samples and their codes, from which the best scale and offset follow.
struct Sums {
  float w = 0, x = 0, q = 0, xq = 0, qq = 0;
};

Sums sums_of(const Samples& s, float inverse, float offset, Range codes) {
  float w = 0, x = 0, q = 0, xq = 0, qq = 0;
#pragma omp simd reduction(+ : w, x, q, xq, qq)
  for (int i = 0; i < s.size; ++i) {
    const auto code = static_cast<float>(nearest_code(s.x[i], inverse, offset, codes));
    const float wq = s.weight[i] * code;
    w += s.weight[i];
    x += s.weight[i] * s.x[i];
    q += wq;
    xq += wq * s.x[i];
    qq += wq * code;
  }
  return {w, x, q, xq, qq};
}

/// Least squares for codes that stand: `offset` remains where the codes leave it open.
Fit solve(const Sums& s, float offset, float largest_offset) {
  const float determinant = s.w * s.qq - s.q * s.q;
  if (determinant > 1e-6f * s.w * s.qq) {
    offset = (s.qq * s.x - s.q * s.xq) / determinant;
    if (offset <= largest_offset) return {(s.w * s.xq - s.x * s.q) / determinant, offset};
    offset = largest_offset;
  }
  return {s.qq > 0 ? (s.xq - offset * s.q) / s.qq : 0, offset};
}

float squared_error(const Samples& s, const Fit& fit, Range codes) {
  const float inverse = inverse_of(fit.scale);
  float error = 0;
#pragma omp simd reduction(+ : error)
  for (int i = 0; i < s.size; ++i) {
    const auto q = static_cast<float>(nearest_code(s.x[i], inverse, fit.offset, codes));
    const float miss = s.x[i] - fit.scale * q - fit.offset;
    error += s.weight[i] * miss * miss;
  }
  return error;
}

}  // namespace

Fit fit_scale(const Samples& s, Range codes) {
  const float extreme = *std::max_element(
      s.x, s.x + s.size, [](float a, float b) { return std::abs(a) < std::abs(b); });
  if (std::abs(extreme) < kTooSmall) return {};
  // With the best scale for its codes, a candidate leaves sum w x^2 - explained.
  float explained = 0, scale = 0;
  const auto offer = [&](float inverse) {
    const Sums sums = sums_of(s, inverse, 0, codes);
    if (!(sums.xq * sums.xq > explained * sums.qq)) return;
    explained = sums.xq * sums.xq / sums.qq;
    scale = sums.xq / sums.qq;
  };
  // Last codes beyond the range cut the extreme off, which can be worth it.
  for (int step = -8; step <= 16; ++step) {
    const float last = static_cast<float>(codes.low) * (1 + 0.025f * static_cast<float>(step));
    offer(last / extreme);
  }
  for (int round = 0; round < 2; ++round) offer(inverse_of(scale));
  return {scale};
}

Fit fit_affine(const Samples& s, Range codes, float largest_offset) {
  const auto [least, most] = std::minmax_element(s.x, s.x + s.size);
  const float lowest = std::min(*least, largest_offset), width = *most - lowest;
  if (width < kTooSmall) return {0, lowest};
  Fit best = {0, lowest};
  float least_error = std::numeric_limits<float>::infinity();
  for (int step = -8; step <= 8; ++step) {
    const float last = static_cast<float>(codes.high) * (1 + 0.025f * static_cast<float>(step));
    Fit fit = {width / last, lowest};
    for (int round = 0; round < 2; ++round) {
      fit = solve(sums_of(s, inverse_of(fit.scale), fit.offset, codes), fit.offset, largest_offset);
    }
    const float error = squared_error(s, fit, codes);
    if (!(error < least_error)) continue;
    least_error = error;
    best = fit;
  }
  return best;
}

// ---- Blocks of 256 ------------------------------------------------------------------------------

namespace {

/// Searches one block: the fits of sub-blocks first, then by turns their integers for given d and
/// dmin, and d and dmin for given integers.
class SuperBlockSearch {
 public:
  SuperBlockSearch(const Samples& samples, int sub_block, Range codes, Range scales, Range mins)
      : samples_(samples), size_(sub_block), codes_(codes), scales_(scales), mins_(mins) {}

  SuperBlock run() {
    fit_sub_blocks();
    SuperBlock best;
    float best_error = std::numeric_limits<float>::infinity();
    for (int round = 0; round < 3; ++round) {
      const float error = choose_integers();
      if (!(error < best_error)) break;
      best_error = error;
      best = code_;
      solve_scales();
    }
    return best;
  }

 private:
  int count() const { return samples_.size / size_; }
  Samples part(int s) const { return {samples_.x + s * size_, samples_.weight + s * size_, size_}; }

  void fit_sub_blocks() {
    float extreme = 0, lowest = 0;
    for (int s = 0; s < count(); ++s) {
      fits_[s] = mins_.high > 0 ? fit_affine(part(s), codes_, 0) : fit_scale(part(s), codes_);
      if (std::abs(fits_[s].scale) > std::abs(extreme)) extreme = fits_[s].scale;
      lowest = std::min(lowest, fits_[s].offset);
    }
    const int last = -scales_.low > scales_.high ? scales_.low : scales_.high;
    set_scales(extreme / static_cast<float>(last),
               mins_.high > 0 ? -lowest / static_cast<float>(mins_.high) : 0);
  }

  void set_scales(float d, float dmin) {
    code_.d = to_f16(d);
    code_.dmin = to_f16(dmin);
    d_ = from_f16(code_.d);
    dmin_ = from_f16(code_.dmin);
  }

  /// For each sub-block the scale and minimum, of those next to its fit, with the least error.
  float choose_integers() {
    float total = 0;
    for (int s = 0; s < count(); ++s) total += choose_integers(s);
    return total;
  }
  float choose_integers(int s) {
    const int scale = nearest_code(fits_[s].scale, inverse_of(d_), 0, scales_);
    const int min = nearest_code(-fits_[s].offset, inverse_of(dmin_), 0, mins_);
    float least = std::numeric_limits<float>::infinity();
    for (int i = std::max(scale - 1, scales_.low); i <= std::min(scale + 1, scales_.high); ++i) {
      for (int j = std::max(min - 1, mins_.low); j <= std::min(min + 1, mins_.high); ++j) {
        const float error = squared_error(part(s), fit_of(i, j), codes_);
        if (!(error < least)) continue;
        least = error;
        code_.scale[s] = static_cast<int8_t>(i);
        code_.min[s] = static_cast<uint8_t>(j);
      }
    }
    const Fit fit = fit_of(code_.scale[s], code_.min[s]);
    for (int i = s * size_; i < (s + 1) * size_; ++i) {
      code_.q[i] = static_cast<int8_t>(
          nearest_code(samples_.x[i], inverse_of(fit.scale), fit.offset, codes_));
    }
    return least;
  }
  Fit fit_of(int scale, int min) const {
    return {d_ * static_cast<float>(scale), -dmin_ * static_cast<float>(min)};
  }

  /// Least squares of x = d a - dmin b, where a = scale q and b = min.
  void solve_scales() {
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < samples_.size; ++i) {
      const double w = samples_.weight[i], x = samples_.x[i];
      const double a = code_.scale[i / size_] * code_.q[i], b = code_.min[i / size_];
      aa += w * a * a;
      ab += w * a * b;
      bb += w * b * b;
      xa += w * x * a;
      xb += w * x * b;
    }
    const double determinant = aa * bb - ab * ab;
    if (determinant > 1e-9 * aa * bb) {
      const double dmin = (ab * xa - aa * xb) / determinant;
      if (dmin >= 0) return set_scales(float((bb * xa - ab * xb) / determinant), float(dmin));
    }
    if (aa > 0) set_scales(float((xa + dmin_ * ab) / aa), dmin_);
  }

  const Samples& samples_;
  int size_;
  Range codes_, scales_, mins_;
  Fit fits_[16];
  SuperBlock code_;
  float d_ = 0, dmin_ = 0;
};

}  // namespace

SuperBlock search_super_block(const Samples& samples, int sub_block, Range codes, Range scales,
                              Range mins) {
  return SuperBlockSearch(samples, sub_block, codes, scales, mins).run();
}

}  // namespace axl
