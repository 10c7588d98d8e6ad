#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "axl/tensor/view.h"

namespace axl {

/// Zeroed memory on 64-byte (large blocks: huge-page) boundaries. Move-only. Throws Error when the
/// machine has no such amount.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  float* floats() const { return static_cast<float*>(data_); }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Hands out consecutive pieces of one buffer. A plan is made by running the same code twice: first
/// on a measuring arena, whose views point nowhere, then on a real one of the size it measured.
class Arena {
 public:
  Arena() = default;  ///< measures
  Arena(void* data, size_t bytes) : data_(static_cast<char*>(data)), capacity_(bytes) {}

  void* allocate(size_t bytes);
  Mat matrix(int64_t rows, int64_t cols) {
    return {static_cast<float*>(allocate(sizeof(float) * rows * cols)), rows, cols};
  }
  ScaledMat scaled_matrix(int64_t rows, int64_t cols) {
    const MatrixView<int8_t> codes(static_cast<int8_t*>(allocate(rows * cols)), rows, cols);
    return {codes, static_cast<float*>(allocate(sizeof(float) * rows))};
  }
  size_t used() const { return used_; }

  /// Lays out what each part allocates over what the others do: for buffers of which only one
  /// part's hold anything at a time.
  template <class... Parts>
  void overlay(const Parts&... parts) {
    const size_t begin = used_;
    size_t end = begin;
    const auto lay = [&](const auto& part) {
      used_ = begin;
      part();
      end = std::max(end, used_);
    };
    (lay(parts), ...);
    used_ = end;
  }

 private:
  char* data_ = nullptr;
  size_t capacity_ = 0, used_ = 0;
};

}  // namespace axl
