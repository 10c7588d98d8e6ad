#include "axl/infer/drafter.h"

#include <algorithm>
#include <utility>

#include "axl/base/tokens.h"

namespace axl {
namespace {

// As much of a text is remembered as most source files have, twice that at most: 2.5 MB and 5.
constexpr int64_t kRemembered = 16 << 10;
// Guesses that a record speaks of, about: what they were like long ago counts less and less.
constexpr double kRecent = 200;
// What a record begins with counts as so many guesses.
constexpr double kBefore = 8;
// Guesses after which the text goes on as guessed less often than this are not looked at.
constexpr double kUnlikely = 0.05;

// How often guesses are right by order, contest and lead: measured in held-out Python files.
constexpr double kChances[3][2][4] = {{{0.87, 0.95, 0.93, 0.94}, {0.33, 0.48, 0.65, 0.85}},
                                      {{0.74, 0.88, 0.83, 0.92}, {0.25, 0.42, 0.65, 0.85}},
                                      {{0.55, 0.72, 0.70, 0.86}, {0.24, 0.41, 0.60, 0.80}}};

bool is_byte(int32_t token) { return token < 256; }

}  // namespace

const Drafter::Follower* Drafter::Followers::find(uint64_t key) const {
  for (const auto* map : {&young, &old})
    if (const auto found = map->find(key); found != map->end()) return &found->second;
  return nullptr;
}

void Drafter::Followers::vote(uint64_t key, uint8_t byte) {
  const auto [place, is_new] = young.try_emplace(key);
  Follower& f = place->second;
  if (is_new)
    if (const auto before = old.find(key); before != old.end()) f = before->second;
  if (f.lead == 0)
    f.byte = byte, f.lead = 1;
  else if (f.byte == byte)
    f.lead = std::min<uint8_t>(f.lead + 1, 15);
  else if (f.contested = true; --f.lead == 0)
    f.byte = byte, f.lead = 1;
  if (std::ssize(young) > kRemembered) old = std::exchange(young, {});
}

void Drafter::Ending::append(int32_t token) {
  if (!is_byte(token)) return void(count = 0);
  bytes = bytes << 8 | static_cast<uint64_t>(token);
  ++count;
}

Drafter::Drafter(const Model& model)
    : config_(model.config()),
      // 0.10 to 0.19 where weights come from memory; where they lie in a cache 0.18 to 0.35 on
      // Cascade Lake, 0.36 to 0.6 on Zen 4.
      further_row_(model.waits_for_memory() ? 0.15 : 0.35) {
  for (size_t order = 0; order < kOrders.size(); ++order)
    for (size_t contested = 0; contested < 2; ++contested)
      for (size_t lead = 0; lead < kLeads; ++lead)
        records_[order][contested][lead] = {kBefore * kChances[order][contested][lead], kBefore};
}

void Drafter::append(std::span<const int32_t> tokens) {
  if (const int64_t skipped = std::ssize(tokens) - kRemembered; skipped > 0) {
    length_ += skipped;
    ending_.count = 0;
    tokens = tokens.subspan(skipped);
  }
  for (const int32_t token : tokens) append(token);
}

void Drafter::append(int32_t token) {
  judge(token);
  vote(token);
  ++length_;
}

void Drafter::remember(std::string_view around) {
  for (const char c : around.substr(around.size() - std::min<size_t>(around.size(), kRemembered)))
    vote(static_cast<unsigned char>(c));
  ending_ = {};
}

void Drafter::judge(int32_t token) {
  if (judged_ == unjudged_.size()) return;
  const auto [byte, record] = unjudged_[judged_++];
  const bool is_right = byte == token;
  record->made += 1;
  record->right += is_right;
  if (record->made > kRecent) *record = {record->right / 2, record->made / 2};
  if (!is_right) judged_ = unjudged_.size();
}

void Drafter::vote(int32_t token) {
  for (size_t i = 0; i < kOrders.size(); ++i)
    if (is_byte(token) && ending_.has(kOrders[i]))
      followers_[i].vote(ending_.key(kOrders[i]), static_cast<uint8_t>(token));
  ending_.append(token);
}

/// What follows the most bytes that anything has followed; false where nothing has.
bool Drafter::guess_after(const Ending& ending, Guess& guess) {
  for (size_t i = 0; i < kOrders.size(); ++i) {
    if (!ending.has(kOrders[i])) continue;
    const Follower* f = followers_[i].find(ending.key(kOrders[i]));
    if (!f) continue;
    guess = {f->byte, &records_[i][f->contested][std::min<int>(f->lead, kLeads) - 1]};
    return true;
  }
  return false;
}

// This text's share of a pass that reads its tokens [first, first + rows), in readings of a layer's
// weights: a scale's layers are read if a token of it ends among them.
double Drafter::pass_cost(int64_t first, int64_t rows, int64_t texts) const {
  const double share = 1.0 / static_cast<double>(texts);
  double cost = 0;
  for (int64_t s = 0; s < config_.n_scales(); ++s) {
    const int64_t factor = config_.downsample_factors[s];
    const int64_t tokens = (first + rows) / factor - first / factor;
    if (tokens > 0) cost += config_.layers(s) * (share + further_row_ * (tokens - share));
  }
  return cost;
}

std::span<const int32_t> Drafter::guess(int64_t most, int64_t texts) {
  unjudged_.clear();
  judged_ = 0;
  guesses_.clear();
  const int64_t first = length_ - 1;
  const double without = pass_cost(first, 1, texts);
  double saved = 0, best = 0, reached = 1;
  size_t count = 0;
  Ending ending = ending_;
  for (Guess next; std::ssize(unjudged_) < most && reached > kUnlikely; ending.append(next.byte)) {
    if (!guess_after(ending, next)) break;
    unjudged_.push_back(next);
    const int64_t n = std::ssize(unjudged_);
    reached *= next.record->right / next.record->made;
    saved += reached * pass_cost(first + n, 1, texts);
    const double gain = saved - (pass_cost(first, 1 + n, texts) - without);
    if (gain > best) best = gain, count = n;
  }
  for (size_t i = 0; i < count; ++i) guesses_.push_back(unjudged_[i].byte);
  return guesses_;
}

}  // namespace axl
