#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace axl {

/// How many positions of a text begin a shingle that other text holds too.
struct SharedShingles {
  uint64_t positions = 0, shared = 0;

  /// 0 for a text that is shorter than a shingle.
  double share() const { return positions ? double(shared) / double(positions) : 0; }
  SharedShingles& operator+=(const SharedShingles& other);
};

/// Finds what held-out texts have in common with training text: a shingle is kLength successive
/// bytes (Broder 1997), compared by a rolling 64-bit polynomial hash (Karp, Rabin 1987). Memory is
/// some 20 to 40 bytes per byte of held-out text, whatever the size of the training text.
class ShingleIndex {
 public:
  static constexpr size_t kLength = 50;

  explicit ShingleIndex(std::span<const std::string_view> held_out);

  /// Marks the shingles that `training` holds. Call it for each training text, in any order.
  void mark(std::string_view training);
  /// What of `held_out`, one of the texts given to the constructor, has been marked so far.
  SharedShingles shared(std::string_view held_out) const;

 private:
  /// The slot of `hash`, or the empty one where it would go.
  size_t slot_of(uint64_t hash) const;

  std::vector<uint64_t> slots_;  ///< hashes by open addressing; 0 is empty
  std::vector<bool> marked_;     ///< by slot
  int shift_;                    ///< 64 − log2 of the number of slots
};

/// Marks what a training file holds: its bytes, or of a .jsonl file the texts of its records. The
/// file is mapped, not read into memory. Throws Error with file and line.
void mark_training_file(ShingleIndex& index, const std::filesystem::path& file);

}  // namespace axl
