// Whole models in GGUF files.
#include "axl/model/quantized.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/formats/gguf.h"
#include "axl/infer/batch.h"
#include "axl/infer/causality.h"
#include "axl/infer/generate.h"
#include "axl/infer/session.h"
#include "axl/model/checkpoint.h"
#include "options_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr QuantizedType kTypes[] = {QuantizedType::kBF16, QuantizedType::kQ8_0,
                                    QuantizedType::kQ4_K_M};

/// Rows that divide by no block, a memory of each kind, layers enough for both types of q4_k_m.
ModelConfig some_config() {
  ModelConfig config{.d_model = 72, .n_heads = 2, .d_ff = 200, .n_layers_per_scale = {3}};
  config.max_seq_len = 32;
  config.ngram = {{2, 3}, 64};
  config.recall = {{1, 2, 4}, 10};
  config.repeats = {2};
  return config;
}

struct Quantized : testing::Test {
  TempDir dir;
  fs::path file = dir.path() / "m.gguf";
  Model model = [] {
    Model m(some_config());
    m.init(3);
    m.recall().observe(repetitive_ids(60, 99), 0);
    return m;
  }();
};

double distance(const Matrix& a, const Matrix& b) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    sum += std::pow(double(a.values[i]) - b.values[i], 2);
    all += std::pow(double(b.values[i]), 2);
  }
  return std::sqrt(sum / all);
}

TEST_F(Quantized, LogitsStayNearAndNearerWithMoreBits) {
  const std::vector<int32_t> ids = repetitive_ids(32, 1);
  const Matrix exact = full_logits(model, ids);
  double last = 0;
  for (QuantizedType type : kTypes) {
    save_quantized(model, type, file, "m");
    const double off = distance(full_logits(load_model(file), ids), exact);
    EXPECT_GT(off, last);
    EXPECT_LT(off, 0.2);
    last = off;
  }
}

TEST_F(Quantized, DecodingEqualsTheFullForward) {
  const std::vector<int32_t> ids = repetitive_ids(32, 1);
  for (QuantizedType type : kTypes) {
    save_quantized(model, type, file, "m");
    const Model quantized = load_model(file);
    const Matrix whole = full_logits(quantized, ids);
    Session session(quantized);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto logits = session.append({&ids[i], 1});
      Matrix at(1, kVocab);
      std::copy(logits.begin(), logits.end(), at.values.begin());
      Matrix of_whole(1, kVocab);
      std::copy_n(&whole.values[i * kVocab], kVocab, of_whole.values.begin());
      EXPECT_LT(distance(at, of_whole), 0.02) << i;
    }
    check_causality(quantized);
  }
}

// How threads divide a byte's work depends on how fast they reach each other.
TEST_F(Quantized, DecodingIsTheSameOnAnyNumberOfThreads) {
  const std::vector<int32_t> ids = repetitive_ids(32, 1);
  for (QuantizedType type : kTypes) {
    save_quantized(model, type, file, "m");
    const Model quantized = load_model(file);
    std::vector<float> expected;
    for (int threads : {1, 2, 3, 5}) {
      const Threads scope(threads);
      Session session(quantized);
      std::vector<float> all;
      for (const int32_t& id : ids) {
        const auto logits = session.append({&id, 1});
        all.insert(all.end(), logits.begin(), logits.end());
      }
      if (threads == 1)
        expected = all;
      else
        EXPECT_EQ(all, expected) << threads;
    }
  }
}

// Rows pass a layer in tiles that know nothing of where a text ends.
TEST_F(Quantized, PromptsReadTogetherAreTheSameAsAloneOnAnyNumberOfThreads) {
  ModelConfig config{.d_model = 256, .n_heads = 2, .d_ff = 512, .n_layers_per_scale = {2}};
  config.max_seq_len = 64;
  const Model whole = random_model_of(config);
  const std::vector<int32_t> ids = repetitive_ids(64, 1);
  const size_t lengths[] = {53, 2, 30, 17};
  for (QuantizedType type : {QuantizedType::kQ8_0, QuantizedType::kQ4_K_M}) {
    save_quantized(whole, type, file, "m");
    const Model quantized = load_model(file);
    std::vector<float> expected;
    for (size_t length : lengths) {
      Session session(quantized);
      const auto logits = session.append({ids.data(), length});
      expected.insert(expected.end(), logits.begin(), logits.end());
    }
    for (int threads : {1, 2, 3, 5, 8}) {
      const Threads scope(threads);
      Batch batch(quantized, std::size(lengths), 128);
      std::vector<Batch::Portion> portions;
      for (size_t length : lengths)
        portions.push_back({static_cast<int64_t>(portions.size()), {ids.data(), length}});
      batch.read(portions);
      const Mat logits = batch.logits();
      ASSERT_EQ(logits.size(), static_cast<int64_t>(expected.size()));
      EXPECT_EQ(0, std::memcmp(logits.data, expected.data(), sizeof(float) * expected.size()))
          << threads;
    }
  }
}

TEST_F(Quantized, TheFileSaysWhatItIsAndItsBits) {
  const QuantizedReport report = save_quantized(model, QuantizedType::kQ4_K_M, file, "some name");
  const GgufFile gguf(file);
  EXPECT_EQ(gguf.get<std::string>("general.architecture"), "axl");
  EXPECT_EQ(gguf.get<std::string>("general.name"), "some name");
  EXPECT_EQ(load_model_config(file), model.config());
  EXPECT_EQ(gguf.tensors().size(), report.tensors.size());
  double bits = 0;
  for (const Parameter& p : model.parameters()) bits += 8.0 * gguf.tensor(p.name).bytes.size();
  EXPECT_DOUBLE_EQ(report.bits_per_weight(), bits / model.parameter_count());
  // 72 of 256 would be 16 bits per weight; 200 of 256 pays.
  EXPECT_EQ(gguf.tensor("stack.1.0.attn.wq.weight").type, ElementType::kQ8_0);
  EXPECT_EQ(gguf.tensor("stack.1.0.ffn.down.weight").type, ElementType::kQ4_K);
  EXPECT_EQ(gguf.tensor("stack.1.2.ffn.down.weight").type, ElementType::kQ6_K);
}

TEST_F(Quantized, RecallAndTablesComeBackExactly) {
  save_quantized(model, QuantizedType::kQ8_0, file, "m");
  const Model loaded = load_model(file);
  ASSERT_TRUE(loaded.is_stored());
  for (size_t i = 0; i < model.recall().orders().size(); ++i)
    EXPECT_TRUE(std::equal(model.recall().data(i), model.recall().data(i) + model.recall().slots(),
                           loaded.recall().data(i)));
  EXPECT_EQ(loaded.recall().find(0, 12345).first_count, model.recall().find(0, 12345).first_count);
}

TEST_F(Quantized, ChecksumsTellModelsThatDifferInRecallAlone) {
  Model other(some_config());
  other.init(3);
  EXPECT_NE(other.checksum(), model.checksum());
  other.recall().observe(repetitive_ids(60, 99), 0);
  EXPECT_EQ(other.checksum(), model.checksum());
}

TEST_F(Quantized, IsNotQuantisedAgain) {
  save_quantized(model, QuantizedType::kQ8_0, file, "m");
  EXPECT_THROW(save_quantized(load_model(file), QuantizedType::kQ8_0, dir.path() / "n", "m"),
               Error);
}

TEST_F(Quantized, DamageAnywhereIsRefused) {
  save_quantized(model, QuantizedType::kQ8_0, file, "m");
  const std::string whole = read_text(file);
  for (size_t at = 0; at < whole.size(); at += whole.size() / 23) {
    std::string damaged = whole;
    damaged[at] ^= 4;
    write_text(file, damaged);
    EXPECT_THROW(load_model(file), Error) << at;
    write_text(file, whole.substr(0, at));
    EXPECT_THROW(load_model(file), Error) << at;
  }
}

TEST_F(Quantized, AnotherProgramsGgufIsRefusedByName) {
  write_gguf(file, {{"general.architecture", std::string("mamba")}}, {});
  try {
    load_model(file);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("'mamba'"), std::string::npos);
  }
}

TEST_F(Quantized, TensorsThatContradictTheConfigAreRefused) {
  const GgufMetadata metadata = {{"general.architecture", std::string("axl")},
                                 {"axl.config", to_json(model.config())}};
  EXPECT_THROW((write_gguf(file, metadata, {}), load_model(file)), Error);
  const auto zeros = [](int64_t bytes) {
    return [bytes](std::byte* out) { std::fill_n(out, bytes, std::byte{0}); };
  };
  std::vector<GgufTensorSource> tensors;
  for (const Parameter& p : model.parameters())
    tensors.push_back({p.name, ElementType::kF32, p.shape, zeros(4 * p.size())});
  for (int64_t order : model.config().recall.orders)
    tensors.push_back({recall_tensor(order), ElementType::kI32, {1024}, zeros(4096)});
  write_gguf(file, metadata, tensors);
  EXPECT_NO_THROW(load_model(file));  // and each of these changes alone breaks it
  for (const auto& change : std::vector<std::function<void(std::vector<GgufTensorSource>&)>>{
           [](auto& t) { t.pop_back(); }, [](auto& t) { t[0].name = "other"; },
           [&](auto& t) { t[0].shape[0] -= 1, t[0].fill = zeros(t[0].bytes()); },
           [&](auto& t) { t.back().shape[0] /= 2, t.back().fill = zeros(t.back().bytes()); },
           [&](auto& t) { t[0].type = ElementType::kI32; },
           [&](auto& t) {
             t.push_back({"more", ElementType::kF32, {4}, zeros(16)});
           }}) {
    std::vector<GgufTensorSource> changed = tensors;
    change(changed);
    write_gguf(file, metadata, changed);
    EXPECT_THROW(load_model(file), Error);
  }
}

}  // namespace
}  // namespace axl
