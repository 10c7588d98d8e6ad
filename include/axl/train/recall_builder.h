#pragma once

#include <cstdint>
#include <functional>

#include "axl/data/corpus.h"
#include "axl/model/recall.h"

namespace axl {

/// The same memory with no more slots than a corpus of so many bytes has use for: one for four
/// bytes, and at least 2^16.
RecallConfig fitted_recall(RecallConfig recall, uint64_t corpus_bytes);

/// Receives the tokens counted so far and those there will be at most; returns whether to stop.
using RecallProgress = std::function<bool(uint64_t, uint64_t)>;

/// Fills one memory from the even documents of a corpus and one from the odd, see Recall. Of a
/// corpus of more than `max_tokens` (0: no limit) it takes pairs of neighbouring documents, spread
/// evenly over the corpus, until so many tokens are counted; a document is cut there. Which ones
/// depends on the corpus and the limit alone, and the result on neither the number of threads nor
/// `chunk`, the tokens in memory at a time. `progress` may be null. False when it stopped early.
bool build_recall(const Corpus& corpus, Recall& even, Recall& odd, uint64_t max_tokens = 0,
                  const RecallProgress& progress = nullptr, uint64_t chunk = 1 << 20);

}  // namespace axl
