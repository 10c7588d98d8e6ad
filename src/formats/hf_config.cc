#include "axl/formats/hf_config.h"

#include <string_view>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/tokens.h"
#include "axl/formats/byte_tokens.h"
#include "json.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json model_json(const HfLlamaConfig& c) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", kVocab},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", c.num_attention_heads},
          {"num_key_value_heads", c.num_attention_heads},
          {"hidden_act", "silu"},
          {"max_position_embeddings", c.max_position_embeddings},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope_theta},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", false},
          {"bos_token_id", kBos},
          {"eos_token_id", kEos},
          {"torch_dtype", "float32"}};
}

Json special_token(int32_t id, const std::string& text) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

/// Byte-level BPE without merges: what is left of it are the bytes.
Json tokenizer_json() {
  const std::vector<std::string> texts = token_texts();
  Json vocabulary = Json::object();
  for (int32_t id = 0; id < kVocab; ++id) vocabulary[texts[id]] = id;
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  const std::string& bos = texts[kBos];
  const Json bos_then_text = {{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const Json pair = {{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
                     {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                     {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {special_token(kBos, bos), special_token(kEos, texts[kEos])}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", bos_then_text},
            {"pair", pair},
            {"special_tokens", {{bos, {{"id", bos}, {"ids", {kBos}}, {"tokens", {bos}}}}}}}},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", Json::array()}}}};
}

/// Reads the keys of one file.
class Reader {
 public:
  explicit Reader(const fs::path& path)
      : where_(path.string()), json_(parse_json(read_text(path), 8, where_)) {
    if (!json_.is_object()) throw Error(where_ + " is not a JSON object");
  }
  template <class T>
  T get(const char* key) const {
    if (!json_.contains(key)) throw Error(format("{}: '{}' is missing", where_, key));
    try {
      return json_.at(key).get<T>();
    } catch (const nlohmann::json::exception&) {
      throw Error(format("{}: '{}' is of another kind than expected", where_, key));
    }
  }
  /// A key that must have this value, or may be missing.
  template <class T>
  void require(const char* key, const T& value) const {
    if (json_.contains(key) && !json_.at(key).is_null() && json_.at(key) != nlohmann::json(value))
      throw Error(format("{}: '{}' is {}, but axl's models have {}", where_, key,
                         json_.at(key).dump().substr(0, 100), nlohmann::json(value).dump()));
  }

 private:
  std::string where_;
  nlohmann::json json_;
};

}  // namespace

void write_hf_files(const fs::path& dir, const HfLlamaConfig& config) {
  const std::vector<std::string> texts = token_texts();
  const auto write = [&dir](const char* name, const Json& json) {
    write_text(dir / name, json.dump(2) + "\n");
  };
  write("config.json", model_json(config));
  write("generation_config.json", {{"bos_token_id", kBos},
                                   {"eos_token_id", kEos},
                                   {"do_sample", true},
                                   {"temperature", 0.8},
                                   {"top_k", 40}});
  write("tokenizer.json", tokenizer_json());
  write("tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                  {"bos_token", texts[kBos]},
                                  {"eos_token", texts[kEos]},
                                  {"clean_up_tokenization_spaces", false},
                                  {"model_max_length", config.max_position_embeddings}});
}

HfLlamaConfig read_hf_config(const fs::path& dir) {
  const Reader json(dir / "config.json");
  json.get<std::string>("model_type");
  json.require("model_type", "llama");
  json.get<int64_t>("vocab_size");
  json.require("vocab_size", int64_t{kVocab});
  json.require("hidden_act", "silu");
  json.require("attention_bias", false);
  json.require("mlp_bias", false);
  json.require("tie_word_embeddings", false);
  json.require("bos_token_id", int64_t{kBos});
  json.require("eos_token_id", int64_t{kEos});
  json.require("rope_scaling", nullptr);
  HfLlamaConfig c;
  c.hidden_size = json.get<int64_t>("hidden_size");
  c.intermediate_size = json.get<int64_t>("intermediate_size");
  c.num_hidden_layers = json.get<int64_t>("num_hidden_layers");
  c.num_attention_heads = json.get<int64_t>("num_attention_heads");
  c.max_position_embeddings = json.get<int64_t>("max_position_embeddings");
  c.rms_norm_eps = json.get<double>("rms_norm_eps");
  c.rope_theta = json.get<double>("rope_theta");
  json.require("num_key_value_heads", c.num_attention_heads);
  return c;
}

}  // namespace axl
