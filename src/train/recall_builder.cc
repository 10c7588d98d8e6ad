#include "axl/train/recall_builder.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <vector>

#include "axl/base/parallel.h"

namespace axl {
namespace {

/// Reads documents piece by piece and counts a chunk of them at a time, the even and the odd ones
/// on a thread each.
class DocumentCounter {
 public:
  DocumentCounter(const Corpus& corpus, Recall& even, Recall& odd, uint64_t chunk)
      : corpus_(corpus),
        halves_{&even, &odd},
        context_(even.empty() ? 0 : even.orders().back()),
        chunk_(chunk),
        tokens_(chunk + context_),
        scored_(std::make_unique<bool[]>(chunk + context_)) {}

  /// Adds the first `count` tokens of a document. after_chunk(tokens counted) returns whether to
  /// stop, and then this returns false.
  template <class AfterChunk>
  bool add(int64_t document, uint64_t count, const AfterChunk& after_chunk) {
    const uint64_t first = corpus_.document_begin(document);
    for (uint64_t done = 0; done < count;) {
      const uint64_t fresh = std::min(count - done, chunk_ - fresh_);
      const uint64_t known = std::min(done, context_);  // contexts of the first fresh tokens
      int32_t* to = tokens_.data() + used_;
      corpus_.read(first + done - known, known + fresh, to, scored_.get());
      pieces_[document % 2].push_back({{to, known + fresh}, static_cast<int64_t>(known)});
      used_ += known + fresh;
      fresh_ += fresh;
      done += fresh;
      if (fresh_ < chunk_) continue;
      count_chunk();
      if (after_chunk(counted_)) return false;
    }
    return true;
  }
  void count_chunk() {
    parallel_for(2, [&](int64_t half) {
      for (const Piece& piece : pieces_[half]) halves_[half]->observe(piece.tokens, piece.from);
      pieces_[half].clear();
    });
    counted_ += fresh_;
    fresh_ = used_ = 0;
  }

 private:
  /// Tokens of one document; those before `from` were counted in an earlier piece.
  struct Piece {
    std::span<const int32_t> tokens;
    int64_t from;
  };

  const Corpus& corpus_;
  Recall* halves_[2];
  uint64_t context_, chunk_;
  std::vector<int32_t> tokens_;  // only a chunk's first piece can continue a document
  std::unique_ptr<bool[]> scored_;
  std::vector<Piece> pieces_[2];
  uint64_t used_ = 0, fresh_ = 0, counted_ = 0;
};

/// Whether a pair of documents is taken when a share of most / all is: pair · most / all, rounded
/// up, grows by one with it.
bool is_taken(uint64_t pair, uint64_t most, uint64_t all) {
  const auto before = [&](uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(n) * most + all - 1) / all);
  };
  return before(pair + 1) > before(pair);
}

}  // namespace

RecallConfig fitted_recall(RecallConfig recall, uint64_t corpus_bytes) {
  constexpr int64_t kFewestBits = 16;
  if (recall.orders.empty()) return recall;
  const int64_t enough = std::bit_width(corpus_bytes / 4) - 1;
  recall.bits = std::min(recall.bits, std::max(kFewestBits, enough));
  return recall;
}

bool build_recall(const Corpus& corpus, Recall& even, Recall& odd, uint64_t max_tokens,
                  const RecallProgress& progress, uint64_t chunk) {
  const uint64_t all = corpus.tokens(), most = max_tokens > 0 ? std::min(max_tokens, all) : all;
  const auto stop = [&](uint64_t counted) { return progress && progress(counted, most); };
  DocumentCounter counter(corpus, even, odd, chunk);
  uint64_t left = most;
  for (int64_t d = 0; d < corpus.documents() && left > 0; ++d) {
    if (!is_taken(d / 2, most, all)) continue;
    const uint64_t size = corpus.document_begin(d + 1) - corpus.document_begin(d);
    const uint64_t count = std::min(size, left);
    if (!counter.add(d, count, stop)) return false;
    left -= count;
  }
  counter.count_chunk();
  return !stop(most - left);
}

}  // namespace axl
