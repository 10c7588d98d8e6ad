#include "axl/infer/causality.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "axl/base/format.h"
#include "axl/base/rng.h"

namespace axl {
namespace {

constexpr double kTolerance = 1e-4;
// A last bit that differs moves an activation that is rounded to 8 bits by a whole step now and
// then, and every layer after it.
constexpr double kQuantizedTolerance = 5e-2;

struct Logits {
  std::vector<float> values;
  int64_t rows;
  Logits(const LogitsOf& logits_of, std::span<const int32_t> ids)
      : values(ids.size() * kVocab), rows(ids.size()) {
    logits_of(ids, Mat(values.data(), rows, kVocab));
  }
  std::span<const float> row(int64_t i) const { return {&values[i * kVocab], kVocab}; }
};

[[noreturn]] void leak(const std::string& what) {
  throw Error(
      format("the model is not causal: {}. It reads bytes that it is to predict, so a "
             "perplexity of it would mean nothing; no score is given",
             what));
}

void check_change(const LogitsOf& logits_of, std::vector<int32_t> ids, const Logits& original,
                  int64_t t) {
  ids[t] = (ids[t] + 97) % 256;
  const Logits changed(logits_of, ids);
  for (int64_t i = 0; i < t; ++i)
    if (!std::ranges::equal(changed.row(i), original.row(i)))
      leak(format("changing byte {} changed the logits at byte {}", t, i));
}

void check_prefix(const LogitsOf& logits_of, std::span<const int32_t> ids, const Logits& original,
                  int64_t length, double tolerance) {
  const Logits prefix(logits_of, ids.first(length));
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t v = 0; v < kVocab; ++v) {
      const double a = prefix.row(i)[v], b = original.row(i)[v];
      if (!(std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b))))
        leak(
            format("the logits at byte {} differ by {:.2g} when only the first {} of {} bytes are "
                   "given",
                   i, std::abs(a - b), length, ids.size()));
    }
  }
}

}  // namespace

void check_causality(const LogitsOf& logits_of, int64_t length, double tolerance) {
  std::vector<int32_t> ids{kBos};
  Rng rng(1);
  while (static_cast<int64_t>(ids.size()) < length) ids.push_back(rng.below(256));
  const Logits original(logits_of, ids);
  // Around the ends of groups and blocks, where an offset by one would show, and in between.
  for (int64_t t : {length - 1, length - 2, length - 3, length - 4, length / 2, length / 2 + 1,
                    length / 3, int64_t{5}, int64_t{2}, int64_t{1}})
    if (t > 0 && t < length) check_change(logits_of, ids, original, t);
  for (int64_t n : {length - 1, length / 2 + 1, length / 3, int64_t{7}, int64_t{1}})
    if (n > 0 && n < length) check_prefix(logits_of, ids, original, n, tolerance);
}

void check_causality(const Model& model) {
  const int64_t length = std::min<int64_t>(256, model.config().max_seq_len);
  Activations activations(model.config(), length, Activations::Mode::kInference);
  check_causality(
      [&](std::span<const int32_t> ids, Mat logits) {
        activations.lay_out(whole_sequences(1, ids.size()));
        model.forward(ids, activations);
        model.logits(activations);
        copy(activations.logits.row_range(0, logits.rows), logits);
      },
      length, model.is_stored() ? kQuantizedTolerance : kTolerance);
}

}  // namespace axl
