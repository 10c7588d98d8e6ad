#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "axl/model/config.h"

namespace axl {

/// Guesses how a text goes on: as it did the last time its last bytes stood in it (prompt lookup,
/// arXiv:2304.04487). A pass of the model then reads the guesses with the byte before them, and
/// what it says of each decides whether that one was right: the text is the same, in fewer passes.
///
/// How many guesses a pass takes is weighed each time: what the passes that they may save would
/// take, as likely as guesses behind so long a repeat have been right, against what further rows,
/// and groups of the coarser scales that end among them, add to this one. Of texts that take part
/// in the same passes each saves its share.
class Drafter {
 public:
  explicit Drafter(const ModelConfig& config) : config_(config) {}

  /// What the text has next: BOS and marks included, since groups count them.
  void append(std::span<const int32_t> tokens);
  void append(int32_t token) { append({&token, 1}); }

  /// Guesses of the bytes that follow, `most` at most, to be read in one pass with the last token,
  /// in which so many texts take part. Valid until the next call.
  std::span<const int32_t> guess(int64_t most, int64_t texts = 1);
  /// How many of the last guesses were right, from the first on. For each call of guess().
  void learn(int64_t right);

 private:
  /// Repeats are found by so many last bytes, the longest first.
  static constexpr std::array<int64_t, 2> kLengths = {8, 4};
  /// How often guesses were right, by the length of the repeat before them in fours.
  struct Record {
    double right, made;
  };

  int64_t length() const { return forgotten_ + static_cast<int64_t>(tokens_.size()); }
  int64_t place_after_repeat() const;
  int64_t repeat_length(int64_t place) const;
  int64_t worthwhile(double chance, int64_t most, int64_t texts) const;
  double pass_cost(int64_t first, int64_t rows, int64_t texts) const;
  void forget_oldest();
  void remember_place(int64_t place);

  const ModelConfig& config_;
  std::vector<int32_t> tokens_;  ///< the last ones of the text, all but forgotten_ of it
  int64_t forgotten_ = 0;
  /// [kLengths] where in tokens_ something followed these bytes, the last time
  std::array<std::unordered_map<uint64_t, int32_t>, kLengths.size()> places_;
  std::array<Record, 9> records_ = {{{2.7, 4},
                                     {3.0, 4},
                                     {3.2, 4},
                                     {3.4, 4},
                                     {3.5, 4},
                                     {3.6, 4},
                                     {3.7, 4},
                                     {3.7, 4},
                                     {3.8, 4}}};  // as in Python source
  std::vector<int32_t> guesses_;
  size_t record_ = 0;  ///< of the last guesses
};

}  // namespace axl
