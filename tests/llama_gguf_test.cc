// The fine head as a llama file: metadata, names and types as llama.cpp wants them, and back.
#include "axl/model/llama_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/infer/perplexity.h"
#include "axl/model/checkpoint.h"
#include "axl/model/gguf_model.h"
#include "llama_testing.h"
#include "logits_testing.h"
#include "options_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

constexpr LlamaType kTypes[] = {LlamaType::kF32,    LlamaType::kF16,  LlamaType::kBF16,
                                LlamaType::kQ8_0,   LlamaType::kQ4_0, LlamaType::kQ4_K_M,
                                LlamaType::kQ5_K_M, LlamaType::kQ6_K};

ModelConfig small_config() {
  ModelConfig c = tiny_config();
  c.n_layers_per_scale = {2, 1, 1};
  return c;
}

std::string text_of(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += format("line {} of it\n", text.size());
  return text.substr(0, bytes);
}

double fine_nats(const Model& model) {
  return Scorer(model, Head::kFine).score(text_of(150)).nats_per_byte();
}

struct LlamaGguf : testing::Test {
  TempDir dir;
  std::filesystem::path file = dir / "m.gguf";

  std::map<std::string, ElementType> types(const ModelConfig& config, LlamaType type) {
    save_llama(lively_model(config), type, file, "m");
    const GgufFile gguf(file);
    std::map<std::string, ElementType> found;
    for (const auto& [name, tensor] : gguf.tensors()) found[name] = tensor.type;
    return found;
  }
};

TEST_F(LlamaGguf, ComesBackAsTheModelThatTheFineHeadIs) {
  for (ModelConfig config : {small_config(), fine_config(small_config())}) {
    const Model model = lively_model(config);
    save_llama(model, LlamaType::kF32, file, "m");
    const Model back = load_model(file);
    EXPECT_EQ(back.config().downsample_factors, std::vector<int64_t>{1});
    EXPECT_EQ(back.config().n_layers_per_scale, std::vector<int64_t>{2});
    EXPECT_FLOAT_EQ(fine_nats(back), fine_nats(model));
    EXPECT_EQ(load_model_config(file), back.config());
  }
}

TEST_F(LlamaGguf, EveryTypeStaysNear) {
  const Model model = lively_model(divisible_config());
  for (const LlamaType type : kTypes) {
    save_llama(model, type, file, "m");
    EXPECT_NEAR(fine_nats(load_model(file)), fine_nats(model), 0.3)
        << kLlamaTypes[static_cast<size_t>(type)];
  }
}

TEST_F(LlamaGguf, MetadataIsWhatLlamaCppReads) {
  const ModelConfig config = small_config();
  save_llama(lively_model(config), LlamaType::kQ4_K_M, file, "some name");
  const GgufFile gguf(file);
  const auto text = [&](const char* key) { return gguf.get<std::string>(key); };
  const auto number = [&](const char* key) { return gguf.get<uint32_t>(key); };
  EXPECT_EQ(text("general.architecture"), "llama");
  EXPECT_EQ(text("general.name"), "some name");
  EXPECT_EQ(number("general.file_type"), 15u);
  EXPECT_EQ(number("llama.context_length"), config.max_seq_len);
  EXPECT_EQ(number("llama.embedding_length"), config.d_model);
  EXPECT_EQ(number("llama.block_count"), 2u);
  EXPECT_EQ(number("llama.feed_forward_length"), config.d_ff);
  EXPECT_EQ(number("llama.attention.head_count"), config.n_heads);
  EXPECT_EQ(number("llama.rope.dimension_count"), config.head_size());
  EXPECT_FLOAT_EQ(gguf.get<float>("llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  EXPECT_FLOAT_EQ(gguf.get<float>("llama.rope.freq_base"), 10000);
  EXPECT_EQ(text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(text("tokenizer.ggml.pre"), "qwen2");
  EXPECT_EQ(number("tokenizer.ggml.bos_token_id"), kBos);
  EXPECT_EQ(number("tokenizer.ggml.eos_token_id"), kEos);
  EXPECT_TRUE(gguf.get<bool>("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(gguf.get<bool>("tokenizer.ggml.add_eos_token"));
  EXPECT_TRUE(gguf.get<std::vector<std::string>>("tokenizer.ggml.merges").empty());
  const auto& tokens = gguf.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), kVocab);
  EXPECT_EQ(tokens['a'], "a");
  EXPECT_EQ(tokens[' '], "Ġ");
  EXPECT_EQ(tokens['\n'], "Ċ");
  EXPECT_EQ(tokens[0], "Ā");
  EXPECT_EQ(tokens[0xAD], "Ń");
  EXPECT_EQ(tokens[0xFF], "ÿ");
  EXPECT_EQ(tokens[kEos], "<|endoftext|>");
  const auto& token_types = gguf.get<std::vector<int32_t>>("tokenizer.ggml.token_type");
  EXPECT_EQ(std::count(token_types.begin(), token_types.end(), 1), 256);
  EXPECT_EQ(std::count(token_types.begin(), token_types.end(), 3), 2);
}

TEST_F(LlamaGguf, MixturesAreThoseOfLlamaCpp) {
  const ModelConfig c = divisible_config();  // 4 layers, of which 2 and 3 get more bits
  const auto expect = [&](LlamaType type, ElementType usual, ElementType sensitive,
                          ElementType output) {
    for (const auto& [name, found] : types(c, type)) {
      const bool more = name == "blk.2.attn_v.weight" || name == "blk.3.attn_v.weight" ||
                        name == "blk.2.ffn_down.weight" || name == "blk.3.ffn_down.weight";
      const ElementType expected = name.find("norm") != std::string::npos ? ElementType::kF32
                                   : name == "output.weight"              ? output
                                   : more                                 ? sensitive
                                                                          : usual;
      EXPECT_EQ(found, expected) << kLlamaTypes[static_cast<size_t>(type)] << " " << name;
    }
  };
  using enum ElementType;
  expect(LlamaType::kF32, kF32, kF32, kF32);
  expect(LlamaType::kF16, kF16, kF16, kF16);
  expect(LlamaType::kBF16, kBF16, kBF16, kBF16);
  expect(LlamaType::kQ8_0, kQ8_0, kQ8_0, kQ8_0);
  expect(LlamaType::kQ4_0, kQ4_0, kQ4_0, kQ6_K);
  expect(LlamaType::kQ4_K_M, kQ4_K, kQ6_K, kQ6_K);
  expect(LlamaType::kQ5_K_M, kQ5_K, kQ6_K, kQ6_K);
  expect(LlamaType::kQ6_K, kQ6_K, kQ6_K, kQ6_K);
}

TEST_F(LlamaGguf, RowsThatDoNotDivideFallBackAsInLlamaCpp) {
  const ModelConfig c = awkward_config();  // rows of 224 and, in ffn_down, 688
  const auto expect = [&](LlamaType type, ElementType usual, ElementType output) {
    auto found = types(c, type);
    EXPECT_EQ(found.at("blk.0.attn_q.weight"), usual);
    EXPECT_EQ(found.at("token_embd.weight"), usual);
    EXPECT_EQ(found.at("output.weight"), output);
    EXPECT_EQ(found.at("blk.1.ffn_down.weight"), ElementType::kF16);
  };
  using enum ElementType;
  expect(LlamaType::kQ8_0, kQ8_0, kQ8_0);
  expect(LlamaType::kQ4_0, kQ4_0, kQ8_0);
  expect(LlamaType::kQ4_K_M, kQ5_0, kQ8_0);
  expect(LlamaType::kQ5_K_M, kQ5_1, kQ8_0);
  expect(LlamaType::kQ6_K, kQ8_0, kQ8_0);
}

TEST_F(LlamaGguf, TheReportTellsEachFallbackAndTheRealBits) {
  const QuantizedReport report =
      save_llama(lively_model(awkward_config()), LlamaType::kQ4_K_M, file, "m");
  const GgufFile gguf(file);
  double bits = 0, weights = 0;
  for (const QuantizedTensor& t : report.tensors) {
    EXPECT_EQ(gguf.tensor(t.name).type, t.type);
    EXPECT_EQ(t.fallback(), t.name.find("norm") == std::string::npos) << t.name;
    bits += 8.0 * gguf.tensor(t.name).bytes.size();
    weights += t.elements;
  }
  EXPECT_DOUBLE_EQ(report.bits_per_weight(), bits / weights);
}

TEST_F(LlamaGguf, ModelsThatLlamaCppCannotRunAreRefusedByReason) {
  const auto refusal = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig config = tiny_config();
    change(config);
    return message_of<Error>([&] { save_llama(Model(config), LlamaType::kF32, file, "m"); });
  };
  EXPECT_HOLDS(refusal([](ModelConfig& c) { c.ngram.orders = {2}; }), "model.ngram");
  EXPECT_HOLDS(refusal([](ModelConfig& c) { c.recall = {{2}, 10}; }), "model.recall");
  EXPECT_HOLDS(refusal([](ModelConfig& c) { c.repeats = {2}; }), "model.repeats");
  EXPECT_HOLDS(refusal([](ModelConfig& c) { c.attention_window = 3; }), "model.attention_window");
  EXPECT_FALSE(std::filesystem::exists(file));
  ModelConfig whole_window = tiny_config();
  whole_window.attention_window = whole_window.max_seq_len;
  EXPECT_EQ(llama_obstacle(whole_window), "");
}

TEST_F(LlamaGguf, ValuesBeyondF16AreRefused) {
  Model model = lively_model(fine_config(tiny_config()));
  model.data()[0] = 1e6f;
  EXPECT_HOLDS(message_of<Error>([&] { save_llama(model, LlamaType::kF16, file, "m"); }),
               "f16 ends at 65504");
  EXPECT_NO_THROW(save_llama(model, LlamaType::kBF16, file, "m"));
}

TEST_F(LlamaGguf, AQuantisedModelIsNotExported) {
  save_quantized(Model(tiny_config()), QuantizedType::kBF16, file, "m");
  const Model quantized = load_model(file);
  EXPECT_THROW(save_llama(quantized, LlamaType::kF32, dir / "n", "m"), Error);
}

// ---- Files that are not ours --------------------------------------------------------------------

/// Writes what save_llama would, changed.
struct Hostile : LlamaGguf {
  GgufMetadata metadata;
  std::vector<GgufTensorSource> tensors;

  void SetUp() override {
    save_llama(lively_model(fine_config(small_config())), LlamaType::kF32, file, "m");
    const GgufFile gguf(file);
    metadata = gguf.metadata();
    for (const auto& [name, t] : gguf.tensors())
      tensors.push_back({name, t.type, t.shape,
                         [bytes = std::vector(t.bytes.begin(), t.bytes.end())](std::byte* out) {
                           std::copy(bytes.begin(), bytes.end(), out);
                         }});
  }
  template <class T>
  T& value(const std::string& key) {
    for (auto& [name, v] : metadata)
      if (name == key) return std::get<T>(v);
    throw std::out_of_range(key);
  }
  std::string refusal() {
    write_gguf(file, metadata, tensors);
    return message_of<Error>([&] { load_model(file); });
  }
};

TEST_F(Hostile, WhatIsLeftAsItIsLoads) {
  write_gguf(file, metadata, tensors);
  EXPECT_NO_THROW(load_model(file));
}

TEST_F(Hostile, AStrangersLlamaIsRefusedByItsTokens) {
  value<std::vector<std::string>>("tokenizer.ggml.tokens").emplace_back("word");
  EXPECT_HOLDS(refusal(), "whose tokens are not the bytes");
}

TEST_F(Hostile, DimensionsThatContradictTheTensorsAreRefused) {
  for (const char* key : {"llama.embedding_length", "llama.feed_forward_length",
                          "llama.block_count", "llama.attention.head_count",
                          "llama.attention.head_count_kv", "llama.rope.dimension_count"})
    for (const uint32_t bad : {0u, 1u, 7u, 1000u, 0xFFFFFFFFu}) {
      const uint32_t good = std::exchange(value<uint32_t>(format("{}", key)), bad);
      EXPECT_NE(refusal(), "") << key << " " << bad;
      value<uint32_t>(format("{}", key)) = good;
    }
}

TEST_F(Hostile, TensorsThatAreMissingSurplusOrNotFiniteAreRefused) {
  const auto good = tensors;
  tensors.pop_back();
  EXPECT_HOLDS(refusal(), "there is no tensor");
  tensors = good;
  tensors.push_back(good[0]);
  tensors.back().name = "rope_freqs.weight";
  EXPECT_HOLDS(refusal(), "tensors");
  tensors = good;
  const int64_t bytes = good[0].bytes();
  tensors[0].fill = [bytes](std::byte* out) { std::fill_n(out, bytes, std::byte{0xFF}); };
  EXPECT_HOLDS(refusal(), "finite");
}

}  // namespace
}  // namespace axl
