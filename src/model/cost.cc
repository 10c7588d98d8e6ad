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

namespace {

double bytes_of(const Weight& w) {
  return w.is_packed() ? double(w.packed[0].bytes()) : double(sizeof(float)) * w.size();
}

double bytes_of(const SwiGlu& f) { return bytes_of(f.gate) + bytes_of(f.up) + bytes_of(f.down); }

}  // namespace

double decoding_bytes_per_byte(const Weights& w) {
  double bytes = bytes_of(w.tok_embd) / kVocab + bytes_of(w.gate.weight) +
                 bytes_of(w.out_norm.gain) + bytes_of(w.output.weight);
  for (const Weight& table : w.tables) bytes += bytes_of(table) / table.rows;
  for (const Weights::Scale& s : w.scales) {
    double own = bytes_of(s.down.weight) + bytes_of(s.up.weight);
    for (const Block& b : s.stack)
      own += bytes_of(b.attn_norm.gain) + bytes_of(b.ffn_norm.gain) + bytes_of(b.ffn) +
             bytes_of(b.attn.wq) + bytes_of(b.attn.wk) + bytes_of(b.attn.wv) + bytes_of(b.attn.wo);
    bytes += own / s.factor;
  }
  for (const std::vector<Weights::Pair>& layer : w.cross)
    for (const Weights::Pair& p : layer) {
      const CrossBlock& b = p.block;
      bytes += (bytes_of(b.q_norm.gain) + bytes_of(b.ffn_norm.gain) + bytes_of(b.attn.wq) +
                bytes_of(b.attn.wo) + bytes_of(b.ffn)) /
               w.scales[p.target].factor;
      bytes += (bytes_of(b.kv_norm.gain) + bytes_of(b.attn.wk) + bytes_of(b.attn.wv)) /
               w.scales[p.source].factor;
    }
  return bytes;
}

double decoding_weights_per_byte(const ModelConfig& config) {
  return decoding_bytes_per_byte(Weights(config)) / sizeof(float);
}

}  // namespace axl
