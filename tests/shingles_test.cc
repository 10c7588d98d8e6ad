// What held-out text shares with training text.
#include "axl/data/shingles.h"

#include <string>
#include <vector>

#include "data_testing.h"

namespace axl {
namespace {

constexpr size_t kLength = ShingleIndex::kLength;

SharedShingles shared_with(std::string_view held_out, std::string_view training) {
  ShingleIndex index({&held_out, 1});
  index.mark(training);
  return index.shared(held_out);
}

TEST(Shingles, RandomTextsShareNone) {
  Rng rng(1);
  const std::string held_out = random_bytes(rng, 200'000), training = random_bytes(rng, 2'000'000);
  const SharedShingles found = shared_with(held_out, training);
  EXPECT_EQ(found.positions, held_out.size() - kLength + 1);
  EXPECT_EQ(found.shared, 0u);
}

TEST(Shingles, TextsOfTwoLettersShareOnlyWhatIsEqual) {
  Rng rng(2);
  const auto bits = [&](size_t count) {
    std::string text(count, 'a');
    for (char& c : text) c = "ab"[rng.below(2)];
    return text;
  };
  EXPECT_EQ(shared_with(bits(100'000), bits(100'000)).shared, 0u);
}

TEST(Shingles, APlantedCopyIsFoundWhereverItLies) {
  Rng rng(3);
  for (const size_t copied : {kLength - 1, kLength, kLength + 1, size_t{1000}}) {
    for (const size_t at : {size_t{0}, size_t{777}, size_t{5000} - copied}) {
      const std::string held_out = random_bytes(rng, 5000);
      const std::string training =
          random_bytes(rng, 3000) + held_out.substr(at, copied) + random_bytes(rng, 100);
      EXPECT_EQ(shared_with(held_out, training).shared, copied < kLength ? 0 : copied - kLength + 1)
          << copied << " bytes at " << at;
    }
  }
}

TEST(Shingles, OneChangedByteBreaksEveryShingleThatHoldsIt) {
  Rng rng(4);
  const std::string held_out = random_bytes(rng, 1000);
  std::string training = held_out;
  training[500] ^= 1;
  EXPECT_EQ(shared_with(held_out, training).shared, 1000 - kLength + 1 - kLength);
}

TEST(Shingles, AreCountedByFileAndByPosition) {
  const std::string line = "for (int i = 0; i < number_of_things; ++i) do_something(i);";
  const std::vector<std::string_view> held_out = {line, "short", ""};
  ShingleIndex index(held_out);
  index.mark(line.substr(0, 30));
  index.mark(line.substr(30));
  EXPECT_EQ(index.shared(held_out[0]).shared, 0u) << "two files are not one text";
  index.mark(line + line);
  EXPECT_EQ(index.shared(held_out[0]).share(), 1.0);
  EXPECT_EQ(index.shared(held_out[1]).positions, 0u);
  EXPECT_EQ(index.shared(held_out[1]).share(), 0.0);
  EXPECT_EQ(index.shared(held_out[2]).positions, 0u);
}

TEST(Shingles, OfRecordsAreThoseOfTheirTexts) {
  const Scratch scratch;
  const std::string text =
      "def first(x):\n    return x\n\ndef second(x):\n    return x\n\ndef third(x):\n    return "
      "x\n";
  const std::string records = scratch.put(
      "records.jsonl",
      "\n{\"text\": \"def first(x):\\n    return x\\n\\ndef second(x):\\n    return x\\n\\n"
      "def third(x):\\n    return x\\n\"}\n");
  const std::string broken = scratch.put("broken.jsonl", "{\"text\": \"x\"}\n{\"text\"\n");
  const std::string_view view = text;
  ShingleIndex index({&view, 1});
  mark_training_file(index, records);
  EXPECT_EQ(index.shared(text).share(), 1.0);
  EXPECT_HAS(error_of([&] { mark_training_file(index, broken); }), "broken.jsonl:2");
}

}  // namespace
}  // namespace axl
