#include "axl/tensor/arena.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "axl/base/format.h"

namespace axl {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
}  // namespace

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  // Anonymous pages are zero and cost nothing until they are touched.
  data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw Error(format("cannot allocate {:.1f} MiB of memory: {}", bytes / 1048576.0,
                       std::strerror(errno)));
  }
  if (bytes >= kHugePage) madvise(data_, bytes, MADV_HUGEPAGE);
}

Buffer::~Buffer() {
  if (data_) munmap(data_, bytes_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void* Arena::allocate(size_t bytes) {
  const size_t begin = used_;
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (!data_) return nullptr;
  AXL_CHECK(used_ <= capacity_);
  return data_ + begin;
}

}  // namespace axl
