// The fine head as LlamaForCausalLM. Its forward pass, with half-split RoPE, is written out here in
// doubles on the tensors of the file, as transformers' modeling_llama.py defines it.
#include "axl/model/hf_llama.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/model/checkpoint.h"
#include "llama_testing.h"
#include "logits_testing.h"
#include "options_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

using Json = nlohmann::json;
using Rows = std::vector<std::vector<double>>;

/// transformers' model on a directory.
struct HfModel {
  explicit HfModel(const std::filesystem::path& dir)
      : config(Json::parse(get(dir / "config.json"))), file(dir / "model.safetensors") {}

  Rows matrix(const std::string& name) const {
    const std::vector<int64_t> shape = file.tensor(name).shape;
    std::vector<float> values(file.tensor(name).elements());
    file.read_floats(name, shape, values.data());
    const size_t cols = shape.back();
    Rows rows;
    for (size_t i = 0; i < values.size(); i += cols)
      rows.emplace_back(values.begin() + i, values.begin() + i + cols);
    return rows;
  }

  /// nn.Linear without a bias.
  Rows linear(const Rows& x, const std::string& name) const {
    const Rows w = matrix(name);
    Rows y;
    for (const auto& row : x) {
      y.emplace_back();
      for (const auto& weights : w) {
        double sum = 0;
        for (size_t i = 0; i < row.size(); ++i) sum += weights[i] * row[i];
        y.back().push_back(sum);
      }
    }
    return y;
  }

  Rows norm(const Rows& x, const std::string& name) const {
    const Rows gain = matrix(name);
    Rows y = x;
    for (auto& row : y) {
      double square = 0;
      for (const double v : row) square += v * v;
      const double rms = std::sqrt(square / row.size() + double(config["rms_norm_eps"]));
      for (size_t i = 0; i < row.size(); ++i) row[i] *= gain[0][i] / rms;
    }
    return y;
  }

  /// x cos + rotate_half(x) sin, rotate_half((a, b)) = (−b, a) of the halves of each head.
  void rotate(Rows& x) const {
    const size_t heads = config["num_attention_heads"], head = x[0].size() / heads;
    for (size_t position = 0; position < x.size(); ++position)
      for (size_t h = 0; h < heads; ++h)
        for (size_t i = 0; i < head / 2; ++i) {
          double &a = x[position][h * head + i], &b = x[position][h * head + i + head / 2];
          const double angle =
              position * std::pow(double(config["rope_theta"]), -2.0 * i / double(head));
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
  }

  Rows attention(const Rows& x, const std::string& layer) const {
    Rows q = linear(x, layer + "self_attn.q_proj.weight");
    Rows k = linear(x, layer + "self_attn.k_proj.weight");
    const Rows v = linear(x, layer + "self_attn.v_proj.weight");
    rotate(q);
    rotate(k);
    const size_t heads = config["num_attention_heads"], head = x[0].size() / heads;
    Rows out(x.size(), std::vector<double>(x[0].size()));
    for (size_t h = 0; h < heads; ++h)
      for (size_t t = 0; t < x.size(); ++t) {
        std::vector<double> p;
        double sum = 0;
        for (size_t s = 0; s <= t; ++s) {
          double score = 0;
          for (size_t i = h * head; i < (h + 1) * head; ++i) score += q[t][i] * k[s][i];
          p.push_back(std::exp(score / std::sqrt(double(head))));
          sum += p.back();
        }
        for (size_t s = 0; s <= t; ++s)
          for (size_t i = h * head; i < (h + 1) * head; ++i) out[t][i] += p[s] / sum * v[s][i];
      }
    return linear(out, layer + "self_attn.o_proj.weight");
  }

  Rows mlp(const Rows& x, const std::string& layer) const {
    Rows gate = linear(x, layer + "mlp.gate_proj.weight");
    const Rows up = linear(x, layer + "mlp.up_proj.weight");
    for (size_t t = 0; t < gate.size(); ++t)
      for (size_t i = 0; i < gate[t].size(); ++i)
        gate[t][i] *= up[t][i] / (1 + std::exp(-gate[t][i]));
    return linear(gate, layer + "mlp.down_proj.weight");
  }

  Rows logits(std::span<const int32_t> ids) const {
    const Rows embedding = matrix("model.embed_tokens.weight");
    Rows x;
    for (const int32_t id : ids) x.push_back(embedding[id]);
    const auto add = [&x](const Rows& y) {
      for (size_t t = 0; t < x.size(); ++t)
        for (size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
    };
    for (int64_t i = 0; i < config["num_hidden_layers"]; ++i) {
      const std::string layer = format("model.layers.{}.", i);
      add(attention(norm(x, layer + "input_layernorm.weight"), layer));
      add(mlp(norm(x, layer + "post_attention_layernorm.weight"), layer));
    }
    return linear(norm(x, "model.norm.weight"), "lm_head.weight");
  }

  Json config;
  SafetensorsFile file;
};

ModelConfig small_config() {
  ModelConfig c{.d_model = 24, .n_heads = 2, .d_ff = 20, .n_layers_per_scale = {2}};
  c.max_seq_len = 32;
  c.rope_theta = 500;
  return c;
}

struct HfLlama : testing::Test {
  TempDir dir;
  std::filesystem::path out = dir / "hf";
  Model model = lively_model(small_config());
  std::vector<int32_t> ids = repetitive_ids(30, 4);

  Matrix fine_logits() const { return full_logits(model, ids, Head::kFine); }
};

TEST_F(HfLlama, ComputesTheFineHead) {
  save_hf_llama(model, DType::kF32, out);
  const Rows theirs = HfModel(out).logits(ids);
  const Matrix ours = fine_logits();
  double off = 0, size = 0;
  for (size_t t = 0; t < ids.size(); ++t)
    for (int64_t v = 0; v < kVocab; ++v) {
      off += std::pow(theirs[t][v] - ours.values[t * kVocab + v], 2);
      size += std::pow(theirs[t][v], 2);
    }
  EXPECT_LT(std::sqrt(off / size), 1e-5);
}

TEST_F(HfLlama, ComesBackBitForBit) {
  save_hf_llama(model, DType::kF32, out);
  const Model back = load_hf_llama(out);
  const Matrix was = fine_logits(), is = full_logits(back, ids);
  for (size_t i = 0; i < was.values.size(); ++i) ASSERT_EQ(was.values[i], is.values[i]);
}

TEST_F(HfLlama, Bf16RoundsEachWeightOnce) {
  save_hf_llama(model, DType::kBF16, out);
  const SafetensorsFile file(out / "model.safetensors");
  for (const auto& [name, tensor] : file.tensors()) EXPECT_EQ(tensor.dtype, DType::kBF16) << name;
  const Matrix was = fine_logits(), is = full_logits(load_hf_llama(out), ids);
  EXPECT_LT(relative_error(is.values.data(), was.values.data(), was.values.size()), 0.05);
}

TEST_F(HfLlama, TheTokenizerIsTheBytes) {
  save_hf_llama(model, DType::kF32, out);
  const Json tokenizer = Json::parse(get(out / "tokenizer.json"));
  EXPECT_EQ(tokenizer["model"]["vocab"].size(), kVocab);
  EXPECT_EQ(tokenizer["model"]["vocab"]["a"], 'a');
  EXPECT_EQ(tokenizer["model"]["vocab"]["Ġ"], ' ');
  EXPECT_TRUE(tokenizer["model"]["merges"].empty());
  EXPECT_EQ(tokenizer["added_tokens"][0]["id"], kBos);
  EXPECT_EQ(tokenizer["added_tokens"][1]["content"], "<|endoftext|>");
}

TEST_F(HfLlama, WhatIsNoByteModelIsRefusedByReason) {
  save_hf_llama(model, DType::kF32, out);
  const Json good = Json::parse(get(out / "config.json"));
  const auto refusal = [&](const std::string& key, const Json& value) {
    Json changed = good;
    changed[key] = value;
    put(out / "config.json", changed.dump());
    return message_of<Error>([&] { load_hf_llama(out); });
  };
  EXPECT_HOLDS(refusal("vocab_size", 32000), "'vocab_size' is 32000, but axl's models have 258");
  EXPECT_HOLDS(refusal("model_type", "mistral"), "model_type");
  EXPECT_HOLDS(refusal("num_key_value_heads", 1), "num_key_value_heads");
  EXPECT_HOLDS(refusal("tie_word_embeddings", true), "tie_word_embeddings");
  EXPECT_HOLDS(refusal("rope_scaling", {{"type", "linear"}}), "rope_scaling");
  EXPECT_HOLDS(refusal("hidden_size", "wide"), "another kind");
  EXPECT_HOLDS(refusal("hidden_size", int64_t{1} << 60), "d_model");
  EXPECT_HOLDS(refusal("hidden_size", 48), "another shape");
  EXPECT_HOLDS(refusal("num_hidden_layers", 3), "no tensor");
  EXPECT_HOLDS(refusal("num_hidden_layers", 1), "have no tensor");
  put(out / "config.json", good.dump());
  EXPECT_NO_THROW(load_hf_llama(out));
}

TEST_F(HfLlama, AModelThatIsNoLlamaIsRefused) {
  ModelConfig config = small_config();
  config.repeats = {2};
  EXPECT_HOLDS(message_of<Error>([&] { save_hf_llama(Model(config), DType::kF32, out); }),
               "model.repeats");
}

}  // namespace
}  // namespace axl
