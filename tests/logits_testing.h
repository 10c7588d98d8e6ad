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

}  // namespace axl
