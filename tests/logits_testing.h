#pragma once

#include <cstdint>
#include <span>

#include "axl/kernels/elementwise.h"
#include "axl/model/model.h"
#include "testing.h"

namespace axl {

/// Logits after every token, by one forward pass over all of them: [ids, kVocab].
inline Matrix full_logits(const Model& model, std::span<const int32_t> ids,
                          Head head = Head::kFused) {
  Activations a(model.config(), ids.size(), Activations::Mode::kInference);
  a.lay_out(whole_sequences(1, ids.size()));
  model.forward(ids, a);
  model.logits(head, a);
  Matrix logits(ids.size(), kVocab);
  copy(a.logits, logits.view());
  return logits;
}

/// A model whose weights are far enough from their start for its logits to differ.
inline Model random_model_of(const ModelConfig& config) {
  Model model(config);
  model.init(3);
  Rng rng(5);
  for (int64_t i = 0; i < model.parameter_count(); ++i)
    model.data()[i] += static_cast<float>(0.2 * rng.normal());
  return model;
}

}  // namespace axl
