#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "axl/model/model.h"

namespace axl {

/// Logits [N, V] of a sequence of N ids.
using LogitsOf = std::function<void(std::span<const int32_t> ids, Mat logits)>;

/// Proves on sample input of `length` tokens the two properties without which a score means
/// nothing: changing byte t leaves all logits before t as they are, bit for bit; and the logits of
/// a prefix are the prefix of the logits, within
/// `tolerance` (relative to the largest logit above 1).
/// Throws Error that says which position leaked.
void check_causality(const LogitsOf& logits_of, int64_t length, double tolerance = 1e-4);

/// The same for a model, at its full context or 256 bytes, whichever is less. Of a quantised model,
/// whose activations are rounded to 8 bits, prefixes agree within 0.05; the first property stays
/// exact.
void check_causality(const Model& model);

}  // namespace axl
