#include "axl/model/config.h"

#include <algorithm>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/formats/fields_json.h"
#include "axl/model/cost.h"
#include "axl/model/lookup.h"

namespace axl {
namespace {

constexpr int64_t kMaxScales = 16;
constexpr double kMaxParameters = 1e12;

/// Keys beyond the PyTorch definition. A model file has them only where they are not at their
/// defaults, which leave the definition as it is.
bool is_extension(const Field& field) {
  return field.name == "fusion" || field.name == "attention_window" || field.name == "repeats" ||
         field.name == "fill_in_middle" || field.name.starts_with("ngram.") ||
         field.name.starts_with("recall.");
}

/// The fields as model files have them: the PyTorch definition also states the vocabulary, and how
/// a model was trained is no choice that a configuration could make.
Fields json_fields(ModelConfig& config, int64_t& vocab_size) {
  Fields fields = config.fields();
  const auto at = std::find_if(fields.begin(), fields.end(),
                               [](const Field& field) { return field.name == "rope_theta"; });
  AXL_CHECK(at != fields.end());
  fields.insert(at, {"vocab_size", &vocab_size, "256 bytes, BOS and EOS", kVocab, kVocab});
  fields.push_back({"fill_in_middle", &config.fill_in_middle, "trained to fill gaps"});
  return fields;
}

/// Every value within the range of its own field: the ranges are declared once, in fields().
void check_ranges(ModelConfig config) {
  for (const Field& field : config.fields()) {
    set_field(field, parse_field_text(field_text(field)), "model");
  }
}

void check_ascending(const char* key, const std::vector<int64_t>& values) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] <= values[i - 1]) {
      throw UsageError(format("{} must ascend, but {} follows {}", key, values[i], values[i - 1]));
    }
  }
}

/// A file of a few bytes may claim as many as it likes, and each takes memory by being named.
void check_blocks(const ModelConfig& config) {
  constexpr int64_t kMaxBlocks = 16384;
  const int64_t scales = config.n_scales();
  int64_t blocks = scales > 1 ? config.n_cross_attn_layers * scales * (scales - 1) : 0;
  for (int64_t s = 0; s < scales; ++s) blocks += config.layers(s);
  if (blocks > kMaxBlocks)
    throw UsageError(
        format("the model would have {} blocks: model.n_layers_per_scale for each scale and "
               "model.n_cross_attn_layers for each pair of scales; at most {} are possible",
               blocks, kMaxBlocks));
}

void check_scales(const ModelConfig& config) {
  const std::vector<int64_t>& factors = config.downsample_factors;
  if (factors.empty() || factors.front() != 1) {
    throw UsageError("model.downsample_factors must begin with 1, the scale of single bytes");
  }
  if (config.n_scales() > kMaxScales) {
    throw UsageError(format("model.downsample_factors has {} scales; at most {} are possible",
                            config.n_scales(), kMaxScales));
  }
  check_ascending("model.downsample_factors", factors);
  const size_t layers = config.n_layers_per_scale.size();
  if (layers != 1 && layers != factors.size()) {
    throw UsageError(
        format("model.n_layers_per_scale lists {} numbers for {} scales; write one number for all "
               "of them or one for each",
               layers, factors.size()));
  }
  if (config.max_seq_len < config.max_factor()) {
    throw UsageError(
        format("model.max_seq_len is {}, too short for a single token of scale {}; make it at "
               "least {}",
               config.max_seq_len, config.max_factor(), config.max_factor()));
  }
}

}  // namespace

Fields ModelConfig::fields() {
  return {
      {"d_model", &d_model, "D, width of every token", 2, 65536},
      {"n_heads", &n_heads, "H, attention heads; d_model / n_heads must be even", 1, 4096},
      {"d_ff", &d_ff, "F, width inside the SwiGLU feed-forward", 1, 1048576},
      {.name = "n_layers_per_scale",
       .target = &n_layers_per_scale,
       .help = "L, transformer blocks of every scale, or a list with a number for each",
       .min = 1,
       .max = 1024,
       .one_or_list = true},
      {"n_cross_attn_layers", &n_cross_attn_layers,
       "C, layers of attention between all pairs of scales", 0, 1024},
      {"downsample_factors", &downsample_factors,
       "bytes in a token of each scale, ascending from 1; [1] alone is a plain transformer", 1,
       1048576},
      {"max_seq_len", &max_seq_len, "N, context in bytes", 1, 1048576},
      {"rope_theta", &rope_theta, "base of the rotary position frequencies", 1, 1e12},
      {"norm_eps", &norm_eps, "added to the mean square inside RMSNorm", 1e-12, 0.1},
      {"attention_window", &attention_window,
       "tokens of a scale that a token sees, the last ones; 0 all of the context", 0, 1048576},
      {.name = "fusion",
       .target = &fusion,
       .help = "how the scales' views become one: a softmax gate, or their plain sum",
       .choices = {"gate", "sum"}},
      {"ngram.orders", &ngram.orders,
       "hashed n-gram embeddings: lengths in bytes, ascending; [] has none", 1, 64},
      {"ngram.rows", &ngram.rows, "rows of each length's table", 1, 16777216},
      {"repeats", &repeats,
       "tells the model what followed when the last n bytes stood in the context before: lengths "
       "n; "
       "[] never",
       1, kMemoryLevels - 1},
      {"recall.orders", &recall.orders,
       "memory of what followed in the training files: context lengths in bytes; [] has none", 1,
       64},
      {"recall.bits", &recall.bits,
       "at most 2^bits slots of 4 bytes for each length, fewer for a small corpus", 8, 28},
  };
}

void ModelConfig::validate() const {
  check_ranges(*this);
  if (d_model % n_heads != 0) {
    throw UsageError(format("model.n_heads must divide model.d_model, but {} does not divide {}",
                            n_heads, d_model));
  }
  if (head_size() % 2 != 0) {
    throw UsageError(
        format("model.d_model / model.n_heads is {}; it must be even, because rotary positions "
               "turn pairs of values",
               head_size()));
  }
  check_scales(*this);
  check_ascending("model.ngram.orders", ngram.orders);
  check_ascending("model.repeats", repeats);
  check_ascending("model.recall.orders", recall.orders);
  check_blocks(*this);
  // Within the ranges above the exact count fits into 64 bits, see cost.h.
  const double parameters = static_cast<double>(count_parameters(*this).total());
  if (parameters > kMaxParameters) {
    throw UsageError(format("the model would have {} parameters; at most {} are possible",
                            human_count(parameters), human_count(kMaxParameters)));
  }
}

std::string to_json(const ModelConfig& config) {
  ModelConfig copy = config;
  int64_t vocab_size = kVocab;
  Fields fields = json_fields(copy, vocab_size);
  ModelConfig defaults;
  const Fields plain = json_fields(defaults, vocab_size);
  for (size_t i = plain.size(); i-- > 0;)
    if (is_extension(plain[i]) && field_text(fields[i]) == field_text(plain[i]))
      fields.erase(fields.begin() + i);
  return fields_to_json(fields);
}

ModelConfig model_config_from_json(const std::string& json, const std::string& where) {
  ModelConfig config;
  int64_t vocab_size = kVocab;
  const Fields fields = json_fields(config, vocab_size);
  try {
    fields_from_json(json, fields, where);
    for (const Field& field : fields) {
      // A default in place of a missing value would be another model. No value of these fields is
      // the name of one, so the quoted name can only be the key.
      if (!is_extension(field) && json.find('"' + field.name + '"') == std::string::npos) {
        throw Error(format("{}: '{}' is missing", where, field.name));
      }
    }
    config.validate();
  } catch (const UsageError& e) {  // a defect of the file, not of how axl was called
    const std::string what = e.what();
    throw Error(what.starts_with(where) ? what : format("{}: {}", where, what));
  }
  return config;
}

}  // namespace axl
