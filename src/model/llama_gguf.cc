#include "axl/model/llama_gguf.h"

#include <cmath>
#include <limits>
#include <map>

#include "axl/base/format.h"
#include "axl/formats/block_codec.h"
#include "axl/formats/byte_tokens.h"
#include "axl/model/gguf_model.h"
#include "llama_types.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

// ---- Names --------------------------------------------------------------------------------------

std::string llama_name(const std::string& name) {
  static const std::map<std::string, std::string> kNames = {
      {"tok_embd.weight", "token_embd.weight"}, {"out_norm.weight", "output_norm.weight"},
      {"output.weight", "output.weight"},       {"attn_norm.weight", "attn_norm.weight"},
      {"attn.wq.weight", "attn_q.weight"},      {"attn.wk.weight", "attn_k.weight"},
      {"attn.wv.weight", "attn_v.weight"},      {"attn.wo.weight", "attn_output.weight"},
      {"ffn_norm.weight", "ffn_norm.weight"},   {"ffn.gate.weight", "ffn_gate.weight"},
      {"ffn.up.weight", "ffn_up.weight"},       {"ffn.down.weight", "ffn_down.weight"},
  };
  const int64_t layer = fine_layer(name);
  if (layer < 0) return kNames.at(name);
  return format("blk.{}.{}", layer, kNames.at(name.substr(format("stack.1.{}.", layer).size())));
}

// ---- Types --------------------------------------------------------------------------------------

ElementType usual_type(LlamaType type) {
  constexpr ElementType kTypes[] = {ElementType::kF32,  ElementType::kF16,  ElementType::kBF16,
                                    ElementType::kQ8_0, ElementType::kQ4_0, ElementType::kQ4_K,
                                    ElementType::kQ5_K, ElementType::kQ6_K};
  return kTypes[static_cast<size_t>(type)];
}

/// llama.cpp's number of such a mixture (LLAMA_FTYPE_MOSTLY_…).
uint32_t file_type(LlamaType type) {
  constexpr uint32_t kNumbers[] = {0, 1, 32, 7, 2, 15, 17, 18};
  return kNumbers[static_cast<size_t>(type)];
}

ElementType wanted_type(LlamaType type, const Parameter& p, int64_t layers) {
  const ElementType usual = usual_type(type);
  if (p.role == Role::kGain) return ElementType::kF32;
  if (element_format(usual).elements == 1) return usual;
  if (p.role == Role::kOutput) return usual == ElementType::kQ8_0 ? usual : ElementType::kQ6_K;
  const bool mixture = type == LlamaType::kQ4_K_M || type == LlamaType::kQ5_K_M;
  const bool sensitive = p.name.ends_with("attn.wv.weight") || p.name.ends_with("ffn.down.weight");
  return mixture && sensitive && more_bits(fine_layer(p.name), layers) ? ElementType::kQ6_K : usual;
}

void require_range(ConstMat values, ElementType type, const std::string& name) {
  constexpr float kLargestHalf = 65504;
  if (type != ElementType::kF16) return;
  for (int64_t i = 0; i < values.size(); ++i)
    if (std::abs(values.data[i]) > kLargestHalf)
      throw Error(format("{} holds {:.6g}, but f16 ends at {}; choose --type f32 or bf16", name,
                         values.data[i], kLargestHalf));
}

// ---- Metadata -----------------------------------------------------------------------------------

GgufMetadata llama_metadata(const ModelConfig& c, LlamaType type, const std::string& name) {
  constexpr int32_t kNormal = 1, kControl = 3;
  std::vector<int32_t> token_types(256, kNormal);
  token_types.resize(kVocab, kControl);
  const auto u32 = [](int64_t value) { return static_cast<uint32_t>(value); };
  return {
      {"general.architecture", std::string("llama")},
      {"general.name", name},
      {"general.file_type", file_type(type)},
      {"general.quantization_version", uint32_t{2}},
      {"llama.context_length", u32(c.max_seq_len)},
      {"llama.embedding_length", u32(c.d_model)},
      {"llama.block_count", u32(c.layers(0))},
      {"llama.feed_forward_length", u32(c.d_ff)},
      {"llama.attention.head_count", u32(c.n_heads)},
      {"llama.attention.head_count_kv", u32(c.n_heads)},
      {"llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_eps)},
      {"llama.rope.dimension_count", u32(c.head_size())},
      {"llama.rope.freq_base", static_cast<float>(c.rope_theta)},
      {"llama.vocab_size", u32(kVocab)},
      {"tokenizer.ggml.model", std::string("gpt2")},
      // Of llama.cpp's ways to cut a text before merging, the one that gives every text back as it
      // was; others lose spaces before punctuation.
      {"tokenizer.ggml.pre", std::string("qwen2")},
      {"tokenizer.ggml.tokens", token_texts()},
      {"tokenizer.ggml.token_type", token_types},
      {"tokenizer.ggml.merges", std::vector<std::string>()},
      {"tokenizer.ggml.bos_token_id", u32(kBos)},
      {"tokenizer.ggml.eos_token_id", u32(kEos)},
      {"tokenizer.ggml.add_bos_token", true},
      {"tokenizer.ggml.add_eos_token", false},
  };
}

[[noreturn]] void refuse(const GgufFile& file, const std::string& why) {
  throw Error(
      format("{}: a llama model {}; of these axl runs only what `axl export-gguf` writes, byte "
             "models of plain layers",
             file.path().string(), why));
}

void require_byte_tokens(const GgufFile& file) {
  const auto* tokens = file.find<std::vector<std::string>>("tokenizer.ggml.tokens");
  if (!tokens || *tokens != token_texts()) refuse(file, "whose tokens are not the bytes");
}

}  // namespace

std::string llama_obstacle(const ModelConfig& c) {
  if (!c.ngram.orders.empty()) return "its bytes have n-gram embeddings (model.ngram)";
  if (!c.recall.orders.empty()) return "it has a recall memory (model.recall)";
  if (!c.repeats.empty()) return "it is told about repeats (model.repeats)";
  if (c.attention_window > 0 && c.attention_window < c.max_seq_len)
    return format("its attention sees a window of {} tokens (model.attention_window)",
                  c.attention_window);
  return "";
}

int64_t fine_layer(const std::string& parameter) {
  return parameter.starts_with("stack.1.") ? std::stoll(parameter.substr(8)) : -1;
}

ModelConfig fine_config(const ModelConfig& config) {
  ModelConfig fine = config;
  fine.downsample_factors = {1};
  fine.n_layers_per_scale = {config.layers(0)};
  return fine;
}

QuantizedReport save_llama(const Model& model, LlamaType type, const fs::path& path,
                           const std::string& name, const std::vector<uint8_t>& whole_model) {
  const std::string obstacle = llama_obstacle(model.config());
  if (!obstacle.empty()) throw Error(format("llama.cpp cannot run this model: {}", obstacle));
  if (model.is_stored())
    throw Error("the model is quantised already; export the one that was trained");
  std::map<std::string, int64_t> offsets;
  for (const Parameter& p : model.parameters()) offsets[p.name] = p.offset;

  const ModelConfig fine = fine_config(model.config());
  QuantizedReport report;
  std::vector<GgufTensorSource> sources;
  for (const Parameter& p : parameter_table(fine)) {
    const ElementType wanted = wanted_type(type, p, fine.layers(0));
    const ElementType used = unpadded_type(wanted, p.cols);
    const ConstMat values(model.data() + offsets.at(p.name), p.rows, p.cols);
    require_range(values, used, p.name);
    sources.push_back({llama_name(p.name), used, p.shape,
                       [used, values](std::byte* out) { encode_matrix(used, values, out); }});
    report.tensors.push_back({sources.back().name, used, wanted, p.size(), sources.back().bytes()});
  }
  GgufMetadata metadata = llama_metadata(fine, type, name);
  if (!whole_model.empty()) metadata.emplace_back(kWholeModelKey, whole_model);
  write_gguf(path, metadata, sources);
  return report;
}

ModelConfig llama_config(const GgufFile& file) {
  require_byte_tokens(file);
  const auto number = [&](const char* key) {
    return static_cast<int64_t>(file.get<uint32_t>(format("llama.{}", key)));
  };
  const auto real = [&](const char* key) {
    return static_cast<double>(file.get<float>(format("llama.{}", key)));
  };
  ModelConfig c;
  c.d_model = number("embedding_length");
  c.n_heads = number("attention.head_count");
  c.d_ff = number("feed_forward_length");
  c.n_layers_per_scale = {number("block_count")};
  c.downsample_factors = {1};
  c.max_seq_len = number("context_length");
  c.norm_eps = real("attention.layer_norm_rms_epsilon");
  c.rope_theta = real("rope.freq_base");
  try {
    c.validate();
  } catch (const UsageError& e) {  // a defect of the file, not of how axl was called
    refuse(file, format("of impossible dimensions ({})", e.what()));
  }
  if (number("attention.head_count_kv") != c.n_heads) refuse(file, "whose heads share keys");
  if (number("rope.dimension_count") != c.head_size())
    refuse(file, "that turns only a part of each head");
  return c;
}

Model load_llama(const GgufFile& file) {
  const ModelConfig config = llama_config(file);
  const std::vector<Parameter> parameters = parameter_table(config);
  // Before memory is taken for what the metadata claims.
  for (const Parameter& p : parameters) {
    const GgufFile::Tensor& t = file.tensor(llama_name(p.name));
    if (t.shape != p.shape || t.type == ElementType::kI32)
      refuse(file, format("whose tensor '{}' has another shape or type than its dimensions say",
                          llama_name(p.name)));
  }
  if (file.tensors().size() != parameters.size())
    refuse(file, format("of {} tensors, where its dimensions make {}", file.tensors().size(),
                        parameters.size()));
  file.verify_checksum();
  Model model(config);
  for (const Parameter& p : parameters) {
    const GgufFile::Tensor& t = file.tensor(llama_name(p.name));
    const PackedMatrix coded{t.type, t.bytes.data(), p.rows, p.cols};
    float* values = model.data() + p.offset;
    for (int64_t i = 0; i < p.rows; ++i) decode_row(coded, i, values + i * p.cols);
    for (int64_t i = 0; i < p.size(); ++i)
      if (!std::isfinite(values[i]))
        throw Error(format("{}: tensor '{}' holds {}, not a finite number", file.path().string(),
                           llama_name(p.name), values[i]));
  }
  return model;
}

}  // namespace axl
