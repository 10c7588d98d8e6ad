#include "axl/model/hf_llama.h"

#include <algorithm>
#include <map>
#include <set>

#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/formats/hf_config.h"
#include "axl/model/checkpoint.h"
#include "axl/model/llama_gguf.h"
#include "float_tensors.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

std::string hf_name(const std::string& name) {
  static const std::map<std::string, std::string> kNames = {
      {"tok_embd.weight", "model.embed_tokens.weight"},
      {"out_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"attn_norm.weight", "input_layernorm.weight"},
      {"attn.wq.weight", "self_attn.q_proj.weight"},
      {"attn.wk.weight", "self_attn.k_proj.weight"},
      {"attn.wv.weight", "self_attn.v_proj.weight"},
      {"attn.wo.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"ffn.gate.weight", "mlp.gate_proj.weight"},
      {"ffn.up.weight", "mlp.up_proj.weight"},
      {"ffn.down.weight", "mlp.down_proj.weight"},
  };
  const int64_t layer = fine_layer(name);
  if (layer < 0) return kNames.at(name);
  return format("model.layers.{}.{}", layer,
                kNames.at(name.substr(format("stack.1.{}.", layer).size())));
}

bool is_rotated(const std::string& name) {
  return name.ends_with("attn.wq.weight") || name.ends_with("attn.wk.weight");
}

/// Where row `row` of W_q or W_k goes.
int64_t hf_row(int64_t row, int64_t head_size) {
  const int64_t head = row / head_size, within = row % head_size;
  return head * head_size + within / 2 + within % 2 * (head_size / 2);
}

HfLlamaConfig hf_config(const ModelConfig& c) {
  return {.hidden_size = c.d_model,
          .intermediate_size = c.d_ff,
          .num_hidden_layers = c.layers(0),
          .num_attention_heads = c.n_heads,
          .max_position_embeddings = c.max_seq_len,
          .rms_norm_eps = c.norm_eps,
          .rope_theta = c.rope_theta};
}

ModelConfig config_of(const HfLlamaConfig& hf, const std::string& where) {
  ModelConfig c;
  c.d_model = hf.hidden_size;
  c.d_ff = hf.intermediate_size;
  c.n_layers_per_scale = {hf.num_hidden_layers};
  c.n_heads = hf.num_attention_heads;
  c.downsample_factors = {1};
  c.max_seq_len = hf.max_position_embeddings;
  c.norm_eps = hf.rms_norm_eps;
  c.rope_theta = hf.rope_theta;
  try {
    c.validate();
  } catch (const UsageError& e) {  // a defect of the file, not of how axl was called
    throw Error(format("{}: {}", where, e.what()));
  }
  return c;
}

}  // namespace

void save_hf_llama(const Model& model, DType type, const fs::path& dir) {
  const std::string obstacle = llama_obstacle(model.config());
  if (!obstacle.empty()) throw Error(format("LlamaForCausalLM cannot be this model: {}", obstacle));
  std::map<std::string, int64_t> offsets;
  for (const Parameter& p : model.parameters()) offsets[p.name] = p.offset;
  const ModelConfig fine = fine_config(model.config());
  FloatTensors tensors;
  for (const Parameter& p : parameter_table(fine)) {
    const float* values = model.data() + offsets.at(p.name);
    if (!is_rotated(p.name)) {
      tensors.add(hf_name(p.name), type, p.shape, values);
      continue;
    }
    std::vector<float> rows(p.size());
    for (int64_t r = 0; r < p.rows; ++r)
      std::copy_n(values + r * p.cols, p.cols, &rows[hf_row(r, fine.head_size()) * p.cols]);
    tensors.add_copy(hf_name(p.name), type, p.shape, std::move(rows));
  }
  make_writable_directory(dir);
  write_hf_files(dir, hf_config(fine));
  write_safetensors(dir / kModelFile, tensors.sources(), {{"format", "pt"}});
}

bool is_hf_model(const fs::path& dir) {
  std::error_code ignored;
  return fs::is_regular_file(dir / "config.json", ignored) &&
         fs::is_regular_file(dir / kModelFile, ignored);
}

Model load_hf_llama(const fs::path& dir) {
  const ModelConfig config = config_of(read_hf_config(dir), (dir / "config.json").string());
  const SafetensorsFile file(dir / kModelFile);
  const std::vector<Parameter> parameters = parameter_table(config);
  std::set<std::string> known;
  for (const Parameter& p : parameters) {  // before memory is taken for what the header claims
    known.insert(hf_name(p.name));
    if (file.tensor(hf_name(p.name)).shape != p.shape)
      throw Error(format("{}: tensor '{}' has another shape than config.json says",
                         file.path().string(), hf_name(p.name)));
  }
  for (const auto& [name, tensor] : file.tensors())
    if (!known.count(name))
      throw Error(format("{}: axl's models have no tensor '{}'", file.path().string(), name));
  Model model(config);
  for (const Parameter& p : parameters) {
    float* values = model.data() + p.offset;
    file.read_floats(hf_name(p.name), p.shape, values);
    if (!is_rotated(p.name)) continue;
    const std::vector<float> rows(values, values + p.size());
    for (int64_t r = 0; r < p.rows; ++r)
      std::copy_n(&rows[hf_row(r, config.head_size()) * p.cols], p.cols, values + r * p.cols);
  }
  return model;
}

}  // namespace axl
