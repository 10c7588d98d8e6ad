#include "axl/base/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace axl {

#ifdef _OPENMP
void set_num_threads(int n) { omp_set_num_threads(n); }
int num_threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
int thread_index() { return omp_get_thread_num(); }
int max_threads() { return omp_get_max_threads(); }
SerialSection::SerialSection() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
SerialSection::~SerialSection() { omp_set_num_threads(threads_); }
#else
void set_num_threads(int) {}
int num_threads() { return 1; }
int thread_index() { return 0; }
int max_threads() { return 1; }
SerialSection::SerialSection() : threads_(1) {}
SerialSection::~SerialSection() {}
#endif

}  // namespace axl
