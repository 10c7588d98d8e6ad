#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "axl/model/model.h"

namespace axl {

/// Guesses how a text goes on: each byte is what mostly followed the bytes before it, so far in
/// this text (prompt lookup, arXiv:2304.04487, by votes instead of the last place). A pass of the
/// model then reads the guesses with the byte before them, and what it says of each decides whether
/// that one was right: the text is the same, in fewer passes.
///
/// How many guesses a pass takes is weighed each time: what the passes that they may save would
/// take, as likely as guesses like them have been right, against what further rows, and groups of
/// the coarser scales that end among them, add to this one. Of texts that take part in the same
/// passes each saves its share.
class Drafter {
 public:
  explicit Drafter(const Model& model);
  Drafter(const Drafter&) = delete;
  Drafter& operator=(const Drafter&) = delete;

  /// What stands around the text and is no part of it: guesses are made from it, too. Before
  /// append().
  void remember(std::string_view around);
  /// What the text has next: BOS and marks included, since groups count them.
  void append(std::span<const int32_t> tokens);
  void append(int32_t token);

  /// Guesses of the bytes that follow, `most` at most, to be read in one pass with the last token,
  /// in which so many texts take part. Valid until the next call.
  std::span<const int32_t> guess(int64_t most, int64_t texts = 1);

 private:
  /// Bytes before a guess that it is made from, the most first.
  static constexpr std::array<int64_t, 3> kOrders = {8, 5, 3};
  static constexpr int kLeads = 4;

  /// The byte that led when votes were last counted (Boyer and Moore's majority vote), by how many,
  /// and whether another ever got one.
  struct Follower {
    uint8_t byte = 0, lead = 0;
    bool contested = false;
  };
  /// What followed each run of bytes: lately, and before that.
  struct Followers {
    std::unordered_map<uint64_t, Follower> young, old;
    const Follower* find(uint64_t key) const;
    void vote(uint64_t key, uint8_t byte);
  };
  /// The last bytes of a text, the latest lowest, and how many there are behind its last mark.
  struct Ending {
    uint64_t bytes = 0;
    int64_t count = 0;
    bool has(int64_t n) const { return count >= n; }
    uint64_t key(int64_t n) const { return n == 8 ? bytes : bytes & ((uint64_t{1} << 8 * n) - 1); }
    void append(int32_t token);
  };
  /// How often guesses of a kind were right.
  struct Record {
    double right, made;
  };
  struct Guess {
    int32_t byte;
    Record* record;
  };

  void judge(int32_t token);
  void vote(int32_t token);
  bool guess_after(const Ending& ending, Guess& guess);
  double pass_cost(int64_t first, int64_t rows, int64_t texts) const;

  const ModelConfig& config_;
  double further_row_;  ///< what a row more takes of what reading the weights does
  int64_t length_ = 0;
  Ending ending_;
  std::array<Followers, kOrders.size()> followers_;
  std::array<std::array<std::array<Record, kLeads>, 2>, kOrders.size()> records_;  ///< contested: 1
  std::vector<Guess> unjudged_;  ///< of what follows, from the last call of guess()
  size_t judged_ = 0;            ///< of those
  std::vector<int32_t> guesses_;
};

}  // namespace axl
