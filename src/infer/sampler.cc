#include "axl/infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/model/config.h"

namespace axl {
namespace {

// What is not a number has no place in an order: it comes last.
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void require(bool ok, const char* name, double value, const char* range) {
  if (!ok) throw UsageError(format("{} is {}; it must be {}", name, value, range));
}

void normalise(std::vector<Candidate>& c) {
  double sum = 0;
  for (const Candidate& x : c) sum += x.probability;
  for (Candidate& x : c) x.probability /= sum;
}

void keep_first(std::vector<Candidate>& c, size_t count) {
  if (count >= c.size()) return;
  c.resize(std::max<size_t>(count, 1));
  normalise(c);
}

}  // namespace

void SamplingOptions::validate() const {
  require(temperature >= 0 && temperature <= 100, "temperature", temperature, "in [0, 100]");
  require(top_k >= 0, "top-k", double(top_k), "0 (off) or more");
  require(top_p > 0 && top_p <= 1, "top-p", top_p, "in (0, 1]");
  require(min_p >= 0 && min_p <= 1, "min-p", min_p, "in [0, 1]");
}

std::vector<Candidate> candidates(std::span<const float> logits, const SamplingOptions& o) {
  std::vector<Candidate> c;
  c.reserve(logits.size());
  for (int32_t t = 0; t < static_cast<int32_t>(logits.size()); ++t)
    if (t != kBos) c.push_back({t, std::isnan(logits[t]) ? -kInfinity : logits[t]});
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.probability > b.probability || (a.probability == b.probability && a.token < b.token);
  };
  if (o.temperature == 0) return {{std::min_element(c.begin(), c.end(), before)->token, 1.0}};
  if (o.top_k > 0 && o.top_k < std::ssize(c)) {  // what is dropped need not be put in order
    std::nth_element(c.begin(), c.begin() + o.top_k, c.end(), before);
    c.resize(o.top_k);
  }
  std::sort(c.begin(), c.end(), before);

  const double top = c[0].probability;
  for (Candidate& x : c) x.probability = std::exp((x.probability - top) / o.temperature);
  normalise(c);
  if (o.top_p < 1) {
    double mass = 0;
    size_t count = 0;
    while (count < c.size() && mass < o.top_p) mass += c[count++].probability;
    keep_first(c, count);
  }
  if (o.min_p > 0) {
    const double least = o.min_p * c[0].probability;
    const auto end =
        std::partition_point(c.begin(), c.end(), [&](auto& x) { return x.probability >= least; });
    keep_first(c, end - c.begin());
  }
  return c;
}

int32_t sample(std::span<const float> logits, const SamplingOptions& options, Rng& rng) {
  const std::vector<Candidate> c = candidates(logits, options);
  if (options.temperature == 0) return c[0].token;
  double left = rng.uniform();
  for (const Candidate& x : c)
    if ((left -= x.probability) < 0) return x.token;
  return c.back().token;  // rounding left a little over
}

}  // namespace axl
