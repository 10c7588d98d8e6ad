#include <algorithm>
#include <array>
#include <cmath>

#include "axl/model/lookup.h"
#include "axl/model/recall.h"

namespace axl {
namespace {

constexpr int64_t kChoices = 3;  // which of an entry's bytes are new: first, second, both

int32_t byte_of(int32_t row) { return row / kRecallLevels; }

/// Walks from the longest context to the shortest and calls
///   visit(cell, first, second): bytes that no longer context has named, -1 where there is none;
/// cell counts orders, levels and choices. visit returns whether to go on.
template <class Visit>
void back_off(std::span<const RecalledRow> rows, const Visit& visit) {
  std::array<bool, 256> named{};
  const auto fresh = [&](int32_t row) { return row >= 0 && !named[byte_of(row)]; };
  for (size_t i = rows.size(); i-- > 0;) {
    const bool first = fresh(rows[i].first), second = fresh(rows[i].second);
    if (!first && !second) continue;
    const int64_t level = rows[i].first % kRecallLevels;
    const int64_t cell = (i * kRecallLevels + level) * kChoices + first + 2 * second - 1;
    if (!visit(cell, first ? byte_of(rows[i].first) : -1, second ? byte_of(rows[i].second) : -1))
      return;
    if (first) named[byte_of(rows[i].first)] = true;
    if (second) named[byte_of(rows[i].second)] = true;
  }
}

}  // namespace

RecallPrior::Calibration::Calibration(int64_t orders)
    : cells(orders * kRecallLevels * kChoices), successors(kVocab * kVocab) {}

void RecallPrior::Calibration::count(std::span<const RecalledRow> rows, int32_t last,
                                     int32_t next) {
  ++successors[last * kVocab + next];
  back_off(rows, [&](int64_t cell, int32_t first, int32_t second) {
    ++cells[cell].seen;
    cells[cell].first += next == first;
    cells[cell].second += next == second;
    return next != first && next != second;
  });
}

RecallPrior::Calibration& RecallPrior::Calibration::operator+=(const Calibration& other) {
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i].seen += other.cells[i].seen;
    cells[i].first += other.cells[i].first;
    cells[i].second += other.cells[i].second;
  }
  for (size_t i = 0; i < successors.size(); ++i) successors[i] += other.successors[i];
  return *this;
}

RecallPrior::RecallPrior(int64_t orders)
    : chances_(2 * orders * kRecallLevels * kChoices),
      successors_(orders ? kVocab * kVocab : 0, static_cast<float>(-std::log(kVocab))) {}

void RecallPrior::calibrate(const Calibration& c) {
  for (size_t i = 0; i < c.cells.size(); ++i) {
    const double seen = c.cells[i].seen + 2;  // as if seen twice, for half a hit each
    chances_[2 * i] = static_cast<float>((c.cells[i].first + 0.5) / seen);
    chances_[2 * i + 1] = static_cast<float>((c.cells[i].second + 0.25) / seen);
  }
  std::vector<double> all(kVocab);
  for (int64_t i = 0; i < kVocab * kVocab; ++i) all[i % kVocab] += c.successors[i];
  double total = 0;
  for (double& n : all) total += n += 0.1;
  for (int64_t last = 0; last < kVocab; ++last) {
    const double* row = &c.successors[last * kVocab];
    double sum = 0, kinds = 1;
    for (int64_t v = 0; v < kVocab; ++v) sum += row[v], kinds += row[v] > 0;
    for (int64_t v = 0; v < kVocab; ++v)  // Witten and Bell's estimate
      successors_[last * kVocab + v] =
          static_cast<float>(std::log((row[v] + kinds * all[v] / total) / (sum + kinds)));
  }
}

void RecallPrior::add_log_probabilities(std::span<const RecalledRow> rows, int32_t last,
                                        float* logits) const {
  struct Named {
    int32_t byte;
    float probability;
  };
  std::array<Named, 2 * 64> named;
  size_t count = 0;
  float left = 1;
  back_off(rows, [&](int64_t cell, int32_t first, int32_t second) {
    float taken = 0;
    const auto take = [&](int32_t byte, float chance) {
      if (byte < 0) return;
      named[count++] = {byte, left * chance};
      taken += chance;
    };
    take(first, chances_[2 * cell]);
    take(second, chances_[2 * cell + 1]);
    left *= std::max(1e-4f, 1 - taken);
    return true;
  });
  const float* tail = &successors_[last * kVocab];
  float tail_left = 1;
  for (size_t i = 0; i < count; ++i) tail_left -= std::exp(tail[named[i].byte]);
  const float shift = std::log(left / std::max(1e-6f, tail_left));
  std::array<float, 2 * 64> before;
  for (size_t i = 0; i < count; ++i) before[i] = logits[named[i].byte];
  for (int64_t v = 0; v < kVocab; ++v) logits[v] += tail[v] + shift;
  for (size_t i = 0; i < count; ++i)
    logits[named[i].byte] = before[i] + std::log(named[i].probability);
}

}  // namespace axl
