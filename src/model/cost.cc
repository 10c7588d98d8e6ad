#include "axl/model/cost.h"

#include <algorithm>
#include <numeric>

#include "axl/model/lookup.h"

namespace axl {
namespace {

int64_t attention_weights(const ModelConfig& c) { return 4 * c.d_model * c.d_model; }
int64_t ffn_weights(const ModelConfig& c) { return 3 * c.d_model * c.d_ff; }

/// Calls body(t, s) for every directed pair of scales: t learns from s.
template <class Body>
void for_each_pair(const ModelConfig& c, const Body& body) {
  for (int64_t t : c.downsample_factors) {
    for (int64_t s : c.downsample_factors) {
      if (s != t) body(t, s);
    }
  }
}

/// Scores and weighted values: two products of 2·D operations for each pair of query and key that
/// sees it. Among K keys a query sees half of those that there are on average, as they grow from
/// none to K: the mean of x over [0, K]. A window holds that to the mean of min(x, W).
double attention_flops(const ModelConfig& c, double queries, double keys) {
  const double window = c.attention_window > 0 ? std::min<double>(c.attention_window, keys) : keys;
  const double seen = keys > 0 ? window - window * window / (2 * keys) : 0;
  return 2 * (2.0 * c.d_model) * queries * seen;
}

}  // namespace

int64_t ParameterCounts::total() const {
  return std::accumulate(stacks.begin(), stacks.end(),
                         embedding + down + up + cross + gate + output + tables);
}

ParameterCounts count_parameters(const ModelConfig& c) {
  const int64_t D = c.d_model, S = c.n_scales(), pairs = S * (S - 1);
  const int64_t matrices = attention_weights(c) + ffn_weights(c);
  ParameterCounts counts;
  counts.embedding = kVocab * D;
  for (int64_t i = 0; i < S; ++i) counts.stacks.push_back(c.layers(i) * (matrices + 2 * D));
  for (int64_t s : c.downsample_factors) {
    if (s > 1) counts.down += s * D * D;
  }
  counts.up = counts.down;
  counts.cross = c.n_cross_attn_layers * pairs * (matrices + 3 * D);
  counts.gate = S > 1 && c.fusion == "gate" ? S * S * D : 0;
  counts.output = D + kVocab * D;
  for (const Lookup& lookup : lookups(c)) counts.tables += lookup.rows * D;
  counts.tables += vote_rows(c) * kMemoryLevels;
  return counts;
}

double forward_flops_per_byte(const ModelConfig& c) {
  const double D = c.d_model, N = c.max_seq_len, S = c.n_scales(), C = c.n_cross_attn_layers;
  const double projections = attention_weights(c), ffn = ffn_weights(c);
  const auto tokens = [&](int64_t s) { return static_cast<double>(c.max_seq_len / s); };

  double flops = 0;  // of a window
  for (int64_t i = 0; i < c.n_scales(); ++i) {
    const int64_t s = c.downsample_factors[i];
    const double n = tokens(s);
    // Every weight of a block multiplies every token once.
    flops += c.layers(i) * (2 * n * (projections + ffn) + attention_flops(c, n, n));
    // Down reads s·D values for a token; up writes s slots of D for one.
    if (s > 1) flops += 2 * (2 * n * s * D * D);
  }
  for_each_pair(c, [&](int64_t t, int64_t s) {
    // Queries, output and feed-forward run per token of the target, keys and values of the source.
    flops += C * (2 * tokens(t) * (projections / 2 + ffn) + 2 * tokens(s) * (projections / 2) +
                  attention_flops(c, tokens(t), tokens(s)));
  });
  if (S > 1 && c.fusion == "gate") flops += 2 * N * S * (S * D);
  flops += 2 * N * kVocab * D;  // output
  return flops / N;
}

double training_flops_per_byte(const ModelConfig& config) {
  return 3 * forward_flops_per_byte(config);
}

double decoding_weights_per_byte(const ModelConfig& c) {
  const double D = c.d_model, C = c.n_cross_attn_layers;
  const double projections = attention_weights(c), ffn = ffn_weights(c);
  const ParameterCounts counts = count_parameters(c);

  // One row of the embedding and of each table.
  double weights = D * (1 + lookups(c).size()) + counts.gate + counts.output;
  for (int64_t i = 0; i < c.n_scales(); ++i) {
    const int64_t s = c.downsample_factors[i];
    weights += c.layers(i) * (projections + ffn + 2 * D) / s;
    if (s > 1) weights += 2 * (s * D * D) / s;  // down and up, once per token of the scale
  }
  for_each_pair(c, [&](int64_t t, int64_t s) {
    weights += C * (projections / 2 + ffn + 2 * D) / t;  // wq, wo, feed-forward, their norms
    weights += C * (projections / 2 + D) / s;            // wk, wv, their norm
  });
  return weights;
}

}  // namespace axl
