// Range coder, intervals, and whole files through compress and decompress.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/base/parallel.h"
#include "axl/infer/byte_intervals.h"
#include "axl/infer/compress.h"
#include "axl/infer/compressed_file.h"
#include "axl/infer/perplexity.h"
#include "axl/infer/range_coder.h"
#include "temp_dir.h"
#include "testing.h"

namespace axl {
namespace {

// ---- Range coder --------------------------------------------------------------------------------

/// Intervals of symbols with these weights, together kFrequencyTotal.
std::vector<SymbolInterval> table_of(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<SymbolInterval> table;
  uint32_t begin = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const uint32_t later = weights.size() - i - 1, most = kFrequencyTotal - begin - later;
    uint32_t width = std::max(1.0, weights[i] / sum * (kFrequencyTotal - weights.size()));
    width = later == 0 ? most : std::min(width, most);
    table.push_back({begin, width});
    begin += width;
  }
  return table;
}

uint32_t symbol_at(const std::vector<SymbolInterval>& table, uint32_t position) {
  uint32_t i = 0;
  while (position - table[i].begin >= table[i].width) ++i;
  return i;
}

std::string encoded(const std::vector<SymbolInterval>& symbols) {
  RangeEncoder encoder;
  for (const SymbolInterval& s : symbols) encoder.encode(s);
  return encoder.finish();
}

double bits_of(const std::vector<SymbolInterval>& symbols) {
  double bits = 0;
  for (const SymbolInterval& s : symbols) bits += kFrequencyBits - std::log2(s.width);
  return bits;
}

/// Every symbol's interval holds what the decoder sees in its place, and the end is not overrun.
void expect_decodes(const std::string& code, const std::vector<SymbolInterval>& symbols) {
  RangeDecoder decoder(code);
  for (size_t i = 0; i < symbols.size(); ++i) {
    const uint32_t position = decoder.peek();
    ASSERT_TRUE(position >= symbols[i].begin && position - symbols[i].begin < symbols[i].width)
        << "symbol " << i << " of " << symbols.size();
    decoder.skip(symbols[i]);
    ASSERT_FALSE(decoder.exhausted()) << i;
  }
}

TEST(RangeCoder, RandomTablesComeBackAtTheirEntropy) {
  Rng rng(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<SymbolInterval> symbols;
    for (int i = 0; i < 5000; ++i) {  // a table of its own for every symbol
      std::vector<double> weights(2 + rng.below(300));
      for (double& w : weights) w = std::exp(3 * rng.normal());
      const std::vector<SymbolInterval> table = table_of(weights);
      symbols.push_back(table[symbol_at(table, rng.below(kFrequencyTotal))]);
    }
    const std::string code = encoded(symbols);
    expect_decodes(code, symbols);
    EXPECT_LE(8.0 * code.size(), bits_of(symbols) * (1 + 1e-6) + 8);
    EXPECT_GE(8.0 * code.size(), bits_of(symbols) - 8);
  }
}

TEST(RangeCoder, ExtremeProbabilitiesComeBack) {
  const SymbolInterval nearly_all_low{0, kFrequencyTotal - 1},
      nearly_all_high{1, kFrequencyTotal - 1};
  const SymbolInterval first{0, 1}, last{kFrequencyTotal - 1, 1}, whole{0, kFrequencyTotal};
  for (const std::vector<SymbolInterval>& cycle : std::vector<std::vector<SymbolInterval>>{
           {whole},
           {first},
           {last},
           {nearly_all_low},
           {nearly_all_high},
           {last, nearly_all_high, first, whole},
           {nearly_all_low, nearly_all_low, nearly_all_low, last}}) {
    std::vector<SymbolInterval> symbols;
    for (int i = 0; i < 4000; ++i) symbols.push_back(cycle[i % cycle.size()]);
    const std::string code = encoded(symbols);
    expect_decodes(code, symbols);
    EXPECT_LE(8.0 * code.size(), bits_of(symbols) + 4000 * std::exp2(-23) + 8);
  }
}

TEST(RangeCoder, CarryRunsThroughBytesOfOnes) {
  // Symbols around one half leave open whether the code is 0x7F FF FF … or 0x80 00 00 …; the last
  // one decides.
  const SymbolInterval middle{kFrequencyTotal / 2 - 1, 2}, below{0, 100},
      above{kFrequencyTotal - 100, 100};
  for (int undecided : {1, 2, 3, 10, 1000}) {
    std::vector<SymbolInterval> symbols(undecided, middle);
    symbols.push_back(below);
    const std::string low = encoded(symbols);
    EXPECT_TRUE(low.starts_with("\x7f\xff"));
    expect_decodes(low, symbols);
    symbols.back() = above;
    const std::string high = encoded(symbols);
    EXPECT_TRUE(high.starts_with(std::string("\x80\0", 2)));
    expect_decodes(high, symbols);
  }
}

TEST(RangeCoder, ACodeCutShortIsExhaustedSoon) {
  const std::vector<SymbolInterval> symbols(1000, {12345, 1 << 16});  // a byte each
  const std::string code = encoded(symbols);
  for (size_t length : {size_t{0}, size_t{1}, code.size() / 2, code.size() - 10}) {
    RangeDecoder decoder(std::string_view(code).substr(0, length));
    size_t steps = 0;
    while (!decoder.exhausted()) decoder.skip(symbols[steps++]);
    EXPECT_LE(steps, length + 2);
  }
}

TEST(ByteIntervals, CoverTheWholeAndFollowTheLogits) {
  Rng rng(2);
  for (double spread : {0.0, 1.0, 10.0, 1000.0, 1e30}) {
    std::array<float, 256> logits;
    for (float& l : logits) l = static_cast<float>(spread * rng.normal());
    const ByteIntervals intervals(logits);
    const float top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float l : logits) sum += std::exp(double(l) - top);
    uint32_t end = 0;
    for (int b = 0; b < 256; ++b) {
      const SymbolInterval i = intervals.of(b);
      ASSERT_EQ(i.begin, end);
      ASSERT_GE(i.width, 1u);
      ASSERT_NEAR(i.width, std::exp(double(logits[b]) - top) / sum * kFrequencyTotal, 514);
      ASSERT_EQ(intervals.find(i.begin), b);
      ASSERT_EQ(intervals.find(i.begin + i.width - 1), b);
      end = i.begin + i.width;
    }
    EXPECT_EQ(end, kFrequencyTotal);
  }
}

TEST(ByteIntervals, RefuseWhatIsNoNumber) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    std::array<float, 256> logits{};
    logits[200] = bad;
    EXPECT_THROW(ByteIntervals{logits}, Error);
  }
}

// ---- Files --------------------------------------------------------------------------------------

Model tiny_model(uint64_t seed = 3, std::vector<int64_t> factors = {1, 2, 4}) {
  ModelConfig config{.d_model = 16, .n_heads = 2, .d_ff = 24, .n_layers_per_scale = {1}};
  config.downsample_factors = std::move(factors);
  config.max_seq_len = 32;
  Model model(config);
  model.init(seed);
  Rng rng(seed);
  for (int64_t i = 0; i < model.parameter_count(); ++i)
    model.data()[i] += static_cast<float>(0.2 * rng.normal());
  return model;
}

std::string random_bytes(size_t n) {
  Rng rng(n);
  std::string text;
  while (text.size() < n) text += static_cast<char>(rng.below(256));
  return text;
}

std::string refusal(const Model& model, const std::string& file) {
  return message_of<Error>([&] { decompress(model, file, "x.axlz"); });
}

class RoundTrip : public testing::TestWithParam<std::vector<int64_t>> {};

TEST_P(RoundTrip, GivesBackAnyBytes) {
  const Model model = tiny_model(3, GetParam());
  std::string all_bytes;
  for (int b = 0; b < 256; ++b) all_bytes += static_cast<char>(b);
  // 31 to 33: around the context of 32, at which the first half is dropped.
  for (const std::string& text :
       {std::string(), std::string("x"), std::string(1, '\0'), std::string(300, 'a'), all_bytes,
        random_bytes(31), random_bytes(32), random_bytes(33), random_bytes(1000)}) {
    for (uint64_t lane_bytes : {1 << 20, 100, 13, 1}) {
      const auto file = compress(model, text, nullptr, lane_bytes);
      ASSERT_TRUE(file.has_value());
      ASSERT_EQ(decompress(model, *file, "x.axlz"), text) << text.size() << " by " << lane_bytes;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RoundTrip,
                         testing::Values(std::vector<int64_t>{1, 2, 4}, std::vector<int64_t>{1},
                                         std::vector<int64_t>{1, 3, 5}));

TEST(Compress, CutsLongContentIntoLanes) {
  const Model model = tiny_model();
  const auto lanes = [&](size_t length) {
    const std::string file = *compress(model, random_bytes(length), nullptr, 100);
    return parse_compressed_file(file, "x").lanes.size();
  };
  EXPECT_EQ(lanes(0), 0u);
  EXPECT_EQ(lanes(1), 1u);
  EXPECT_EQ(lanes(199), 1u);
  EXPECT_EQ(lanes(200), 2u);
  EXPECT_EQ(lanes(5000), kMaxLanes);
}

TEST(Compress, SizeIsTheScore) {
  const Model model = tiny_model();
  const std::string text = random_bytes(5000);
  const double bytes = Scorer(model).score(text).nats / std::numbers::ln2 / 8;
  const CompressedFile file = parse_compressed_file(*compress(model, text), "x");
  // The score's part for EOS and BOS is not paid; they are 1/129 of the vocabulary.
  EXPECT_LT(file.lanes[0].size(), bytes * 1.001);
  EXPECT_GT(file.lanes[0].size(), bytes * 0.99);
}

TEST(Compress, ThreadsDoNotMatter) {
  const Model model = tiny_model();
  const std::string text = random_bytes(2000);
  const int threads = max_threads();
  set_num_threads(1);
  const auto one = compress(model, text, nullptr, 150);
  set_num_threads(2);
  const auto two = compress(model, text, nullptr, 150);
  EXPECT_EQ(*one, *two);
  EXPECT_EQ(decompress(model, *one, "x"), text);
  set_num_threads(threads);
}

TEST(Compress, StopsWhenTold) {
  const Model model = tiny_model();
  uint64_t seen = 0;
  const auto stop_at_50 = [&](uint64_t bytes) { return (seen = bytes) < 50; };
  EXPECT_FALSE(compress(model, random_bytes(100), stop_at_50).has_value());
  EXPECT_EQ(seen, 50u);
  EXPECT_FALSE(decompress(model, *compress(model, random_bytes(100)), "x", stop_at_50).has_value());
  EXPECT_EQ(seen, 50u);
}

TEST(Compress, RefusesLogitsThatAreNoNumbers) {
  Model model = tiny_model();
  std::fill_n(model.data(), model.parameter_count(), 1e30f);
  EXPECT_THROW(compress(model, "x"), Error);
}

TEST(Decompress, RefusesAnotherModelAndNamesBoth) {
  const Model model = tiny_model(3), other = tiny_model(4);
  const std::string message = refusal(other, *compress(model, "def f(x):"));
  EXPECT_HOLDS(message, format("{:016x}", model.checksum()));
  EXPECT_HOLDS(message, format("{:016x}", other.checksum()));
  EXPECT_HOLDS(message, "x.axlz: ");
  EXPECT_HOLDS(refusal(other, *compress(model, "")), "x.axlz: ");
}

TEST(Decompress, RefusesOtherArithmetic) {
  const Model model = tiny_model();
  const std::string bytes = *compress(model, "def f(x):");
  CompressedFile file = parse_compressed_file(bytes, "x");
  file.arithmetic ^= 1;
  EXPECT_HOLDS(refusal(model, to_bytes(file)), "rounds differently");
}

TEST(Decompress, RefusesEveryTruncation) {
  const Model model = tiny_model();
  const std::string file = *compress(model, random_bytes(60), nullptr, 20);
  for (size_t length = 0; length < file.size(); ++length) refusal(model, file.substr(0, length));
  EXPECT_HOLDS(refusal(model, file + '\0'), "checksum");
}

TEST(Decompress, RefusesEveryFlippedBit) {
  const Model model = tiny_model();
  const std::string file = *compress(model, random_bytes(60), nullptr, 20);
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string damaged = file;
    damaged[bit / 8] ^= 1 << bit % 8;
    refusal(model, damaged);
  }
}

/// Files whose checksum is right but which no axl wrote.
TEST(Decompress, BelievesNoClaimThatTheDataDoesNotBearOut) {
  const Model model = tiny_model();
  const std::string bytes = *compress(model, random_bytes(60), nullptr, 20);
  const CompressedFile honest = parse_compressed_file(bytes, "x");
  const auto refused = [&](const auto& change) {
    CompressedFile file = honest;
    change(file);
    return refusal(model, to_bytes(file));
  };
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.length = uint64_t{1} << 62; }), "ends before");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.length = ~uint64_t{0}; }), "ends before");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.length = 59; }), "checksum");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.length = 2; }), "lanes");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.length = 0; }), "lanes");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.lanes.clear(); }), "lanes");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.lanes.resize(17); }), "lanes");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.lanes[0] = ""; }), "ends before");
  EXPECT_HOLDS(refused([](CompressedFile& f) { f.content ^= 1; }), "checksum");
  EXPECT_HOLDS(refused([](CompressedFile& f) { std::swap(f.lanes[0], f.lanes[1]); }), "x.axlz");
}

}  // namespace
}  // namespace axl
