#pragma once

#include <cstdint>

namespace axl {

/// Sets the number of threads that parallel loops and products use; n >= 1.
void set_num_threads(int n);
int num_threads();

/// Number of the calling thread inside a parallel loop, 0 outside; below max_threads().
int thread_index();
int max_threads();

/// While one lives, libraries called from this thread use this thread alone.
class SerialSection {
 public:
  SerialSection();
  ~SerialSection();
  SerialSection(const SerialSection&) = delete;
  SerialSection& operator=(const SerialSection&) = delete;

 private:
  int threads_;
};

/// Calls body(i) for i in [0, n), spread over the threads in contiguous runs. Which thread runs an
/// index never changes what it computes: bodies must write disjoint data and throw nothing.
/// Nested loops run on the calling thread alone.
template <class Body>
void parallel_for(int64_t n, const Body& body) {
  if (n <= 1 || num_threads() == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) body(i);
}

/// The same for bodies of unequal cost: threads take the next index when they are free.
template <class Body>
void parallel_for_dynamic(int64_t n, const Body& body) {
  if (n <= 1 || num_threads() == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < n; ++i) body(i);
}

}  // namespace axl
