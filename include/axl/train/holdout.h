#pragma once

#include <cstdint>

#include "axl/data/corpus.h"
#include "axl/model/model.h"

namespace axl {

/// Bits per byte on `bytes` bytes of a held-out corpus: windows spread evenly over it, the later
/// half of each scored, as perplexity.h scores a file but on a sample. Marks and EOS are not
/// scored. `activations` lends its buffers (any mode).
double holdout_bits_per_byte(const Model& model, const Corpus& holdout, int64_t bytes,
                             Activations& activations, Head head = Head::kFused);

}  // namespace axl
