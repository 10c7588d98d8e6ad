#pragma once

#include <list>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/formats/safetensors.h"
#include "axl/tensor/half.h"

namespace axl {

/// Tensors of floats for write_safetensors, with the copies that some of them are written from.
class FloatTensors {
 public:
  /// `values` stay where they are until the file is written; bf16 takes a copy.
  void add(const std::string& name, DType type, const std::vector<int64_t>& shape,
           const float* values) {
    if (type == DType::kF32) return sources_.push_back({name, type, shape, values});
    AXL_CHECK(type == DType::kBF16);
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::vector<uint16_t>& halves = halves_.emplace_back(count);
    for (int64_t i = 0; i < count; ++i) halves[i] = to_bf16(values[i]);
    sources_.push_back({name, type, shape, halves.data()});
  }
  /// The same of values that are only lent.
  void add_copy(const std::string& name, DType type, const std::vector<int64_t>& shape,
                std::vector<float> values) {
    add(name, type, shape, copies_.emplace_back(std::move(values)).data());
  }
  std::vector<TensorSource>& sources() { return sources_; }

 private:
  std::vector<TensorSource> sources_;
  std::list<std::vector<uint16_t>> halves_;
  std::list<std::vector<float>> copies_;
};

}  // namespace axl
