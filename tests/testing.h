#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/base/rng.h"
#include "axl/tensor/arena.h"
#include "axl/tensor/view.h"

namespace axl {

/// A matrix that owns its elements. Without any it still has an address, as matrices in an arena
/// do.
struct Matrix {
  std::vector<float> values;
  int64_t rows, cols;
  Matrix(int64_t rows, int64_t cols) : values(rows * cols), rows(rows), cols(cols) {}
  const float* data() const {
    static float nothing;
    return values.empty() ? &nothing : values.data();
  }
  float* data() { return const_cast<float*>(std::as_const(*this).data()); }
  Mat view() { return {data(), rows, cols}; }
  float& operator()(int64_t i, int64_t j) { return values[i * cols + j]; }
};

inline Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed, double scale = 1.0) {
  Matrix m(rows, cols);
  Rng rng(seed);
  for (float& v : m.values) v = static_cast<float>(scale * rng.normal());
  return m;
}

/// max |a − b| / (max |b| + tiny).
inline double relative_error(const float* a, const float* b, int64_t n) {
  double worst = 0, top = 1e-12;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = std::abs(double(a[i]) - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    top = std::max(top, std::abs(double(b[i])));
  }
  return worst / top;
}

/// Sets the number of threads for a scope.
class Threads {
 public:
  explicit Threads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace axl
