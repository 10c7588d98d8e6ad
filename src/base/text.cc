#include "axl/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>

#include "axl/base/error.h"
#include "axl/base/format.h"

namespace axl {
namespace {

constexpr size_t kLongestWord = 64;  // nobody mistypes more, and the distance is quadratic

/// Edits from a to b: insertions, deletions, substitutions, swaps of neighbours (Damerau's distance
/// with each place edited once).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

std::string scaled(double value, double base, const std::vector<std::string>& units) {
  size_t unit = 0;
  // Half a unit early, so that rounding never prints 1000K for 1.0M.
  while (unit + 1 < units.size() && std::abs(value) >= base - 0.5) {
    value /= base;
    ++unit;
  }
  const int decimals = unit == 0 || std::abs(value) >= 99.95 ? 0 : 1;
  return format("{:.{}f}{}", value, decimals, units[unit]);
}

struct Unit {
  char letter;
  double seconds;
};
constexpr std::array<Unit, 3> kUnits = {{{'h', 3600}, {'m', 60}, {'s', 1}}};

[[noreturn]] void refuse_duration(std::string_view text) {
  throw UsageError(format("'{}' is not a duration; write 90, 90s, 3m or 1h30m", text));
}

/// Reads the digits at the front of `rest` and removes them.
double take_number(std::string_view text, std::string_view& rest) {
  double number = 0;
  const bool digit = !rest.empty() && rest[0] >= '0' && rest[0] <= '9';  // no sign, no "inf"
  const auto [end, code] =
      std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
  if (!digit || code != std::errc()) refuse_duration(text);
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return number;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = kLongestWord;
  if (word.size() > kLongestWord) return best;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongestWord) continue;
    const size_t longer = std::max(word.size(), candidate.size());
    const size_t allowed = std::max<size_t>(1, longer / 3);
    const size_t distance = edit_distance(word, candidate);
    // A distance of the word's own length shares nothing with it.
    if (distance > allowed || distance >= longer || distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string meant = nearest(word, candidates);
  return meant.empty() ? "" : format("; did you mean '{}'?", meant);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t end; (end = text.find(separator)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

std::string human_bytes(double bytes) {
  return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB", " PiB"});
}

std::string human_count(double count) { return scaled(count, 1000, {"", "K", "M", "B", "T"}); }

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds) || std::abs(seconds) > 1e15) return format("{}s", seconds);
  if (seconds < 0) return "-" + human_seconds(-seconds);
  if (seconds < 0.9995) return format("{:.0f}ms", seconds * 1e3);
  if (seconds < 59.95) return format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return format("{}m{:02}s", whole / 60, whole % 60);
  return format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

double parse_duration(std::string_view text) {
  std::string_view rest = text;
  double seconds = take_number(text, rest);
  if (rest.empty()) return seconds;
  double number = seconds;
  seconds = 0;
  auto unit = kUnits.begin();
  for (;;) {
    // Units only descend, each at most once: 1h30m, never 30m1h or 1m1m.
    while (unit != kUnits.end() && (rest.empty() || unit->letter != rest[0])) ++unit;
    if (unit == kUnits.end()) refuse_duration(text);
    seconds += number * unit->seconds;
    rest.remove_prefix(1);
    if (rest.empty()) break;
    ++unit;
    number = take_number(text, rest);
  }
  if (!std::isfinite(seconds)) refuse_duration(text);
  return seconds;
}

}  // namespace axl
