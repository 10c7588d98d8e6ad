#include "axl/infer/breakdown.h"

#include <algorithm>
#include <bit>

#include "axl/base/error.h"

namespace axl {
namespace {

constexpr uint64_t kFirstBucket = 16;

/// 0 for 0–15, 1 for 16–31, 2 for 32–63 …
size_t bucket_of(uint64_t context) { return std::bit_width(context / kFirstBucket); }

ContextScore empty_bucket(size_t bucket, uint64_t most) {
  const uint64_t end = kFirstBucket << bucket;
  return {bucket == 0 ? 0 : end / 2, end < most ? end - 1 : most, {}};
}

}  // namespace

void Breakdown::add(uint64_t context, std::span<const float> nats,
                    std::span<const ByteKind> kinds) {
  AXL_CHECK(nats.size() == kinds.size());
  for (size_t i = 0; i < nats.size(); ++i) {
    const Score byte{1, nats[i]};
    const size_t bucket = bucket_of(std::min(context + i, most_ - 1));
    while (by_context_.size() <= bucket)
      by_context_.push_back(empty_bucket(by_context_.size(), most_));
    by_context_[bucket].score += byte;
    by_kind_[static_cast<size_t>(kinds[i])] += byte;
  }
}

}  // namespace axl
