#pragma once

#include <cstdint>
#include <span>

#include "axl/infer/perplexity.h"

namespace axl {

struct ConfidenceInterval {
  double low = 0, high = 0;
};

/// A 95 % confidence interval of the bits per byte of the population from which these documents
/// come, by the percentile bootstrap (Efron 1979): draws as many documents as there are, with
/// replacement, 2000 times; takes total nats / total bytes of each draw; and cuts 2.5 % off both
/// ends. The same scores give the same interval. Needs two documents or more, each of at least a
/// byte; with a handful it is too narrow.
ConfidenceInterval bits_per_byte_interval(std::span<const Score> documents);

}  // namespace axl
