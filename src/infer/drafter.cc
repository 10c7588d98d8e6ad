#include "axl/infer/drafter.h"

#include <algorithm>

#include "axl/base/tokens.h"

namespace axl {
namespace {

// As much of a text is remembered as an editor's file has; twice that at most.
constexpr int64_t kRemembered = 64 << 10;
constexpr int64_t kLongest = 32;  // lengths beyond are alike
// Guesses that a record speaks of, about: what they were like long ago counts less and less.
constexpr double kRecent = 64;
// What a further row of a stack takes, where reading its weights takes 1: 0.16 to 0.2 with
// AVX-512, up to 0.35 with AVX2 where weights lie in a cache.
constexpr double kFurtherRow = 0.25;

bool is_byte(int32_t token) { return token < 256; }

/// The n <= 8 bytes before `end` as one number; false where a mark is among them.
bool key_of(std::span<const int32_t> tokens, int64_t end, int64_t n, uint64_t& key) {
  if (end < n) return false;
  key = 0;
  for (int64_t i = end - n; i < end; ++i) {
    if (!is_byte(tokens[i])) return false;
    key = key << 8 | static_cast<uint64_t>(tokens[i]);
  }
  return true;
}

}  // namespace

void Drafter::append(std::span<const int32_t> tokens) {
  if (std::ssize(tokens) > kRemembered) {  // nothing before the rest will be asked for
    forgotten_ = length() + std::ssize(tokens) - kRemembered;
    tokens_.clear();
    for (auto& places : places_) places.clear();
    tokens = tokens.last(kRemembered);
  }
  for (const int32_t token : tokens) {
    tokens_.push_back(token);
    if (std::ssize(tokens_) > 2 * kRemembered)
      forget_oldest();
    else
      remember_place(std::ssize(tokens_) - 1);
  }
}

void Drafter::forget_oldest() {
  const int64_t count = std::ssize(tokens_) - kRemembered;
  tokens_.erase(tokens_.begin(), tokens_.begin() + count);
  forgotten_ += count;
  for (auto& places : places_) places.clear();
  for (int64_t i = 0; i < std::ssize(tokens_); ++i) remember_place(i);
}

// After the bytes before `place`, the text went on there.
void Drafter::remember_place(int64_t place) {
  for (size_t i = 0; i < kLengths.size(); ++i)
    if (uint64_t key; key_of(tokens_, place, kLengths[i], key))
      places_[i][key] = static_cast<int32_t>(place);
}

// Where the text went on after its last bytes, -1: they are new.
int64_t Drafter::place_after_repeat() const {
  for (size_t i = 0; i < kLengths.size(); ++i) {
    uint64_t key;
    if (!key_of(tokens_, std::ssize(tokens_), kLengths[i], key)) continue;
    if (const auto found = places_[i].find(key); found != places_[i].end()) return found->second;
  }
  return -1;
}

// How many bytes before `place` and at the end are alike.
int64_t Drafter::repeat_length(int64_t place) const {
  int64_t n = 0;
  while (n < kLongest && n < place && tokens_[place - 1 - n] == tokens_[tokens_.size() - 1 - n])
    ++n;
  return n;
}

// This text's share of a pass that reads its tokens [first, first + rows), in readings of a layer's
// weights: a scale's layers are read if a token of it ends among them.
double Drafter::pass_cost(int64_t first, int64_t rows, int64_t texts) const {
  const double share = 1.0 / static_cast<double>(texts);
  double cost = 0;
  for (int64_t s = 0; s < config_.n_scales(); ++s) {
    const int64_t factor = config_.downsample_factors[s];
    const int64_t tokens = (first + rows) / factor - first / factor;
    if (tokens > 0) cost += config_.layers(s) * (share + kFurtherRow * (tokens - share));
  }
  return cost;
}

// How many guesses save most, if each is right with this chance once those before it are.
int64_t Drafter::worthwhile(double chance, int64_t most, int64_t texts) const {
  const int64_t first = length() - 1;
  double best = 0, saved = 0, reached = 1;
  int64_t count = 0;
  for (int64_t n = 1; n <= most; ++n) {
    reached *= chance;
    saved += reached * pass_cost(first + n, 1, texts);
    const double gain = saved - (pass_cost(first, 1 + n, texts) - pass_cost(first, 1, texts));
    if (gain > best) best = gain, count = n;
  }
  return count;
}

std::span<const int32_t> Drafter::guess(int64_t most, int64_t texts) {
  guesses_.clear();
  const int64_t place = place_after_repeat();
  if (place < 0) return guesses_;
  record_ = std::min<size_t>(repeat_length(place) / 4, records_.size() - 1);
  const int64_t count = worthwhile(records_[record_].right / records_[record_].made, most, texts);
  for (int64_t i = 0; i < count; ++i) {
    // What is repeated may run into the guesses themselves.
    const int64_t from = place + i, size = std::ssize(tokens_);
    const int32_t token = from < size ? tokens_[from] : guesses_[from - size];
    if (!is_byte(token)) break;
    guesses_.push_back(token);
  }
  return guesses_;
}

void Drafter::learn(int64_t right) {
  const auto made = static_cast<double>(std::min<int64_t>(right + 1, std::ssize(guesses_)));
  Record& r = records_[record_];
  r.right += static_cast<double>(right);
  r.made += made;
  if (r.made > kRecent) r = {r.right / 2, r.made / 2};
}

}  // namespace axl
