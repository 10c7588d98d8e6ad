#pragma once

#include <functional>

#include "axl/data/corpus.h"
#include "axl/model/recall.h"

namespace axl {

/// Fills one memory from the even documents of a corpus and one from the odd, see Recall. The
/// result does not depend on the number of threads. `progress(done_bytes)` may be null; it returns
/// whether to stop early.
void build_recall(const Corpus& corpus, Recall& even, Recall& odd,
                  const std::function<bool(uint64_t)>& progress = nullptr);

}  // namespace axl
