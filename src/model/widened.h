#pragma once

#include "axl/kernels/widen.h"
#include "axl/model/activations.h"

namespace axl {

template <class Visit>
void visit_parameters(Linear& layer, const std::string& prefix, Visit&& visit) {
  visit(prefix + "weight", layer.weight, Role::kMatrix);
}

/// The layer as products want it: where training keeps matrices in bf16, they are widened to f32 in
/// a.widened, until the next layer is. Any other layer is as it was.
template <class Layer>
Layer widened(const Layer& layer, const Activations& a) {
  Layer ready = layer;
  float* room = a.widened;
  if (!room) return ready;
  visit_parameters(ready, "", [&](const std::string&, Weight& w, Role) {
    if (!w.is_packed()) return;
    widen_bf16(reinterpret_cast<const uint16_t*>(w.packed[0].data), w.size(), room);
    w.data = room;  // neighbours stay neighbours
    w.packed = {};
    room += w.size();
  });
  return ready;
}

}  // namespace axl
