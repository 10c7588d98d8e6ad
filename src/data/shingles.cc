#include "axl/data/shingles.h"

#include <algorithm>
#include <array>
#include <bit>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/formats/jsonl.h"

namespace axl {
namespace {

constexpr uint64_t kBase = 0x9e3779b97f4a7c15;  // odd, its bits are well mixed

/// A random number for each byte, so that texts of few different bytes are told apart too.
std::array<uint64_t, 256> byte_values() {
  std::array<uint64_t, 256> values;
  for (size_t i = 0; i < values.size(); ++i) values[i] = mix64(i + 1);
  return values;
}

uint64_t power(uint64_t base, size_t exponent) {
  uint64_t product = 1;
  for (size_t i = 0; i < exponent; ++i) product *= base;
  return product;
}

/// Calls visit(hash) for the shingle at each position of `text`, from the first on. The hash of
/// bytes b₁ … bₙ is Σ value(bᵢ) · baseⁿ⁻ⁱ modulo 2⁶⁴, never 0.
template <class Visit>
void for_each_shingle(std::string_view text, const Visit& visit) {
  constexpr size_t n = ShingleIndex::kLength;
  if (text.size() < n) return;
  static const std::array<uint64_t, 256> values = byte_values();
  static const uint64_t leaving_weight = power(kBase, n);
  const auto value = [&](size_t i) { return values[static_cast<unsigned char>(text[i])]; };
  uint64_t hash = 0;
  for (size_t i = 0; i < n - 1; ++i) hash = hash * kBase + value(i);
  for (size_t i = n - 1; i < text.size(); ++i) {
    hash = hash * kBase + value(i);
    if (i >= n) hash -= leaving_weight * value(i - n);
    visit(hash ? hash : 1);
  }
}

}  // namespace

SharedShingles& SharedShingles::operator+=(const SharedShingles& other) {
  positions += other.positions;
  shared += other.shared;
  return *this;
}

ShingleIndex::ShingleIndex(std::span<const std::string_view> held_out) {
  uint64_t bytes = 0;
  for (std::string_view text : held_out) bytes += text.size();
  // At most half full, so that a probe is short.
  slots_.resize(std::bit_ceil(std::max<uint64_t>(2 * bytes, 2)));
  marked_.resize(slots_.size());
  shift_ = 64 - std::countr_zero(slots_.size());
  for (std::string_view text : held_out)
    for_each_shingle(text, [&](uint64_t hash) { slots_[slot_of(hash)] = hash; });
}

size_t ShingleIndex::slot_of(uint64_t hash) const {
  // The upper bits of a product depend on all bits of the hash (Knuth's multiplicative hashing).
  size_t slot = (hash * kBase) >> shift_;
  while (slots_[slot] != 0 && slots_[slot] != hash) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void ShingleIndex::mark(std::string_view training) {
  for_each_shingle(training, [&](uint64_t hash) {
    const size_t slot = slot_of(hash);
    if (slots_[slot] != 0) marked_[slot] = true;
  });
}

SharedShingles ShingleIndex::shared(std::string_view held_out) const {
  SharedShingles found;
  for_each_shingle(held_out, [&](uint64_t hash) {
    const size_t slot = slot_of(hash);
    AXL_CHECK(slots_[slot] == hash);
    ++found.positions;
    found.shared += marked_[slot];
  });
  return found;
}

void mark_training_file(ShingleIndex& index, const std::filesystem::path& file) {
  const MappedFile mapped(file);
  if (file.extension() != ".jsonl") return index.mark(mapped.bytes());
  std::string_view rest = mapped.bytes();
  for (int number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const JsonRecord record = parse_json_record(line, format("{}:{}", file.string(), number));
    index.mark(record.source);
    index.mark(record.target);
  }
}

}  // namespace axl
