// Writes what the fuzzers begin with: small files of each kind that axl writes, and the same
// without checksums, behind which a changed file would never get.
// usage: make_fuzz_corpus DIR

#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/model/checkpoint.h"
#include "axl/model/gguf_model.h"
#include "axl/model/llama_gguf.h"
#include "axl/model/quantized.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

Model tiny_model(std::vector<int64_t> factors) {
  ModelConfig c{.d_model = 4, .n_heads = 2, .d_ff = 4, .n_layers_per_scale = {1}};
  c.downsample_factors = std::move(factors);
  c.max_seq_len = 8;
  Model model(c);
  model.init(1);
  return model;
}

/// Beside each file one in which nothing is called a checksum any more.
void add_without_checksum(const fs::path& path, const std::string& key) {
  std::string text = read_text(path);
  const size_t at = text.find(key);
  AXL_CHECK(at != std::string::npos);
  text.replace(at, key.size(), std::string(key.size(), 'x'));
  write_text(path.string() + ".unchecked", text);
}

void write_corpora(const fs::path& dir) {
  const fs::path gguf = dir / "gguf_fuzz.corpus", safetensors = dir / "safetensors_fuzz.corpus";
  fs::create_directories(gguf);
  fs::create_directories(safetensors);
  const Model model = tiny_model({1, 2}), plain = tiny_model({1});
  save_quantized(model, QuantizedType::kQ8_0, gguf / "whole", "m");
  save_llama(plain, LlamaType::kF16, gguf / "llama", "m");
  const std::string whole = read_text(gguf / "whole");
  save_llama(model, LlamaType::kF16, gguf / "carrying", "m", {whole.begin(), whole.end()});
  write_model(plain, safetensors / "f32", DType::kF32);
  write_model(model, safetensors / "bf16", DType::kBF16);
  for (const char* name : {"whole", "llama"}) add_without_checksum(gguf / name, "axl.checksum");
  for (const char* name : {"f32", "bf16"}) add_without_checksum(safetensors / name, "axl_checksum");
}

/// A body for each parser of request_fuzz.cc, whose number its first byte is.
void write_requests(const fs::path& dir) {
  fs::create_directories(dir);
  const char* bodies[] = {
      R"({"model":"m","prompt":["<fim_prefix>a<fim_suffix>b<fim_middle>"],"max_tokens":7,"n":2,
          "best_of":3,"temperature":0.5,"top_p":1,"top_k":4,"min_p":0,"stop":["x"],"seed":1,
          "echo":true,"logprobs":1,"user":"u","logit_bias":{},"presence_penalty":0})",
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text",
          "text":"a"}]}],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,
          "top_logprobs":2,"tools":[],"max_completion_tokens":5,"response_format":{"type":"text"}})",
      R"({"prompt":[[1,2],[256]],"suffix":"b","max_tokens":3,"stop":"y"})",
      R"({"prompt":"a","n_predict":-1,"top_k":-1,"mirostat":0,"grammar":"","samplers":["top_k"]})",
      R"({"input_prefix":"a","input_suffix":"b","prompt":"c","input_extra":[{"text":"t"}],
          "t_max_predict_ms":5,"response_fields":["timings/prompt_n"]})"};
  for (size_t i = 0; i < std::size(bodies); ++i)
    write_text(dir / std::to_string(i), static_cast<char>(i) + std::string(bodies[i]));
}

}  // namespace
}  // namespace axl

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: make_fuzz_corpus DIR\n"), 2;
  try {
    axl::write_corpora(argv[1]);
    axl::write_requests(axl::fs::path(argv[1]) / "request_fuzz.corpus");
  } catch (const axl::Error& e) {
    return std::fprintf(stderr, "make_fuzz_corpus: %s\n", e.what()), 1;
  }
}
