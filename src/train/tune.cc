#include "axl/train/tune.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/rng.h"

namespace axl {
namespace {

std::string value_text(double value, bool whole) {
  return whole ? format("{}", std::llround(value)) : format("{:.3g}", value);
}

/// Where `share` in [0, 1] of the way from low to high lies, in the logarithm.
double between(const TuneParam& p, double share) { return p.low * std::pow(p.high / p.low, share); }

bool is_range(const TuneParam& p) { return p.high > 0; }

double number(std::string_view text, const std::string& whole_text) {
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size() && std::isfinite(value)) return value;
  throw UsageError(format("--param {}: '{}' is not a number; expected key=LOW..HIGH or key=a,b,c",
                          whole_text, text));
}

std::vector<std::string> split_outside_brackets(std::string_view text) {
  std::vector<std::string> items(1);
  int depth = 0;
  for (const char c : text) {
    depth += (c == '[') - (c == ']');
    if (c == ',' && depth == 0)
      items.emplace_back();
    else
      items.back() += c;
  }
  return items;
}

TuneCandidate grid_point(std::span<const TuneParam> params, size_t index) {
  TuneCandidate candidate;
  for (const TuneParam& p : params) {
    candidate.push_back(p.key + "=" + p.values[index % p.values.size()]);
    index /= p.values.size();
  }
  return candidate;
}

TuneCandidate random_point(std::span<const TuneParam> params, Rng& rng) {
  TuneCandidate candidate;
  for (const TuneParam& p : params)
    candidate.push_back(p.key + "=" +
                        (is_range(p) ? value_text(between(p, rng.uniform()), p.whole)
                                     : p.values[rng.below(p.values.size())]));
  return candidate;
}

/// Of the last complete rung with a finite score; without a complete one, of all trials.
std::optional<size_t> best_of(const std::vector<Trial>& trials, size_t complete_rungs) {
  const Trial* best = nullptr;
  for (const Trial& t : trials) {
    if (!std::isfinite(t.score) || (complete_rungs > 0 && t.rung >= complete_rungs)) continue;
    if (!best || t.rung > best->rung || (t.rung == best->rung && t.score < best->score)) best = &t;
  }
  return best ? std::optional(best->candidate) : std::nullopt;
}

}  // namespace

TuneParam tune_range(const std::string& key, double low, double high, bool whole, int points) {
  if (!(low > 0 && low < high))
    throw UsageError(
        format("{}={}..{}: a range goes from a number above 0 to a higher one", key, low, high));
  TuneParam p{key, {}, low, high, whole};
  for (int i = 0; i < points; ++i) {
    std::string value = value_text(between(p, double(i) / (points - 1)), whole);
    if (p.values.empty() || p.values.back() != value) p.values.push_back(std::move(value));
  }
  return p;
}

TuneParam parse_tune_param(const std::string& text, bool whole, int points) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UsageError(format("--param {}: expected key=LOW..HIGH or key=a,b,c", text));
  const std::string key = text.substr(0, equals), values = text.substr(equals + 1);
  if (const size_t dots = values.find(".."); dots != std::string::npos)
    return tune_range(key, number(std::string_view(values).substr(0, dots), text),
                      number(std::string_view(values).substr(dots + 2), text), whole, points);
  TuneParam p{key, split_outside_brackets(values)};
  if (std::ranges::find(p.values, "") != p.values.end())
    throw UsageError(format("--param {}: a value is missing", text));
  if (std::set<std::string>(p.values.begin(), p.values.end()).size() != p.values.size())
    throw UsageError(format("--param {}: a value stands there twice", text));
  return p;
}

std::vector<TuneCandidate> tune_candidates(std::span<const TuneParam> params, size_t most,
                                           uint64_t seed) {
  size_t grid = 1;
  for (const TuneParam& p : params) grid = std::min(grid * p.values.size(), most + 1);
  std::vector<TuneCandidate> candidates;
  if (grid <= most) {
    for (size_t i = 0; i < grid; ++i) candidates.push_back(grid_point(params, i));
    return candidates;
  }
  Rng rng(seed);
  while (candidates.size() < most) {
    TuneCandidate candidate = random_point(params, rng);
    if (std::ranges::find(candidates, candidate) == candidates.end())
      candidates.push_back(std::move(candidate));
  }
  return candidates;
}

size_t tune_rungs(size_t candidates) {
  size_t rungs = candidates > 0;
  for (size_t left = (candidates + 1) / 2; left > 1; left = (left + 1) / 2) ++rungs;
  return rungs;
}

TuneResult successive_halving(
    size_t candidates, const std::function<double()>& seconds_left,
    const std::function<std::optional<double>(const TrialRequest&)>& evaluate) {
  TuneResult result;
  std::vector<size_t> left(candidates);
  std::iota(left.begin(), left.end(), size_t{0});
  std::vector<double> scores(candidates);
  const size_t rungs = tune_rungs(candidates);
  for (size_t rung = 0; rung < rungs; ++rung) {
    const double seconds = seconds_left() / double((rungs - rung) * left.size());
    for (const size_t c : left) {
      const std::optional<double> score = evaluate({c, rung, seconds});
      if (!score) {
        result.best = best_of(result.trials, rung);
        result.stopped = true;
        return result;
      }
      scores[c] = std::isfinite(*score) ? *score : std::numeric_limits<double>::infinity();
      result.trials.push_back({c, rung, scores[c]});
    }
    std::ranges::stable_sort(left, {}, [&](size_t c) { return scores[c]; });
    left.resize((left.size() + 1) / 2);
  }
  result.best = best_of(result.trials, rungs);
  return result;
}

}  // namespace axl
