#include "axl/train/recall_builder.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "axl/base/parallel.h"
#include "axl/base/tokens.h"

namespace axl {
namespace {

constexpr int64_t kChunk = 1 << 20;  // tokens

/// A run of one document's tokens within a chunk; the first `from` were counted before.
struct Run {
  std::span<const int32_t> tokens;
  int64_t from;
  bool odd;
};

std::vector<Run> document_runs(std::span<const int32_t> chunk, int64_t fresh, int64_t document) {
  std::vector<Run> runs;
  for (size_t begin = 0; begin < chunk.size();) {
    const auto next = std::find(chunk.begin() + begin + 1, chunk.end(), kBos);
    const size_t end = next - chunk.begin();
    runs.push_back({chunk.subspan(begin, end - begin),
                    std::max<int64_t>(0, fresh - static_cast<int64_t>(begin)), document % 2 == 1});
    begin = end;
    ++document;
  }
  return runs;
}

}  // namespace

void build_recall(const Corpus& corpus, Recall& even, Recall& odd,
                  const std::function<bool(uint64_t)>& progress) {
  const uint64_t overlap = even.empty() ? 0 : even.orders().back();
  std::vector<int32_t> tokens(kChunk + overlap);
  const auto scored = std::make_unique<bool[]>(tokens.size());
  for (uint64_t done = 0; done < corpus.tokens();) {
    const uint64_t begin = done - std::min(done, overlap);
    const uint64_t end = std::min<uint64_t>(corpus.tokens(), done + kChunk);
    corpus.read(begin, end - begin, tokens.data(), scored.get());
    const std::vector<Run> runs =
        document_runs({tokens.data(), end - begin}, done - begin, corpus.document_at(begin));
    parallel_for(2, [&](int64_t half) {
      for (const Run& run : runs)
        if (run.odd == (half == 1)) (run.odd ? odd : even).observe(run.tokens, run.from);
    });
    done = end;
    if (progress && progress(done)) return;
  }
}

}  // namespace axl
