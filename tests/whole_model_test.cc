// A llama file that carries the whole model, and weights that are decoded again.
#include <gtest/gtest.h>

#include <functional>

#include "axl/base/error.h"
#include "axl/formats/gguf.h"
#include "axl/model/checkpoint.h"
#include "axl/model/gguf_model.h"
#include "axl/model/llama_gguf.h"
#include "axl/model/quantized.h"
#include "llama_testing.h"
#include "logits_testing.h"
#include "options_testing.h"
#include "temp_dir.h"

namespace axl {
namespace {

std::vector<uint8_t> bytes_of(const std::filesystem::path& path) {
  const std::string text = get(path);
  return {text.begin(), text.end()};
}

struct WholeModel : testing::Test {
  TempDir dir;
  std::filesystem::path plain = dir / "plain.gguf", file = dir / "carrying.gguf";
  Model model = lively_model(tiny_config());
  std::vector<int32_t> ids = repetitive_ids(40, 1);

  void SetUp() override {
    save_quantized(model, QuantizedType::kBF16, plain, "m");
    save_llama(model, LlamaType::kQ8_0, file, "m", bytes_of(plain));
  }
  /// Writes the carrying file again with another array.
  std::string refusal_of(std::vector<uint8_t> carried) {
    save_llama(model, LlamaType::kQ8_0, file, "m", carried);
    return message_of<Error>([&] { load_model(file); });
  }
};

TEST_F(WholeModel, IsWhatLoadsFromTheFileThatCarriesIt) {
  const Model whole = load_model(file);
  EXPECT_EQ(whole.config(), model.config());
  EXPECT_EQ(load_model_config(file), model.config());
  EXPECT_EQ(whole.checksum(), load_model(plain).checksum());
  EXPECT_EQ(full_logits(whole, ids).values, full_logits(load_model(plain), ids).values);
}

TEST_F(WholeModel, DoesNotChangeTheLlamaBesideIt) {
  save_llama(model, LlamaType::kQ8_0, dir / "alone.gguf", "m");
  const Model a = load_llama(GgufFile(file)), b = load_llama(GgufFile(dir / "alone.gguf"));
  EXPECT_EQ(full_logits(a, ids).values, full_logits(b, ids).values);
}

TEST_F(WholeModel, SurvivesAProgramThatRewritesTheFile) {
  const GgufFile written(file);
  GgufMetadata metadata = written.metadata();
  metadata.insert(metadata.begin() + 1, {"general.quantized_by", std::string("somebody")});
  const GgufFile::Tensor t = written.tensor("output_norm.weight");
  const GgufTensorSource one = {"output_norm.weight", t.type, t.shape, [&](std::byte* out) {
                                  std::copy(t.bytes.begin(), t.bytes.end(), out);
                                }};
  write_gguf(dir / "rewritten.gguf", metadata, {&one, 1});
  // Its weights may be others then, and the checksum is one of the old file.
  std::string text = get(dir / "rewritten.gguf");
  text.back() ^= 1;
  put(dir / "rewritten.gguf", text);
  EXPECT_THROW(GgufFile(dir / "rewritten.gguf").verify_checksum(), Error);
  EXPECT_EQ(load_model(dir / "rewritten.gguf").checksum(), load_model(plain).checksum());
}

TEST_F(WholeModel, DamageInsideIsRefused) {
  const std::vector<uint8_t> good = bytes_of(plain);
  for (const size_t at : {size_t{0}, size_t{5}, size_t{30}, good.size() / 2, good.size() - 40}) {
    std::vector<uint8_t> bad = good;
    bad[at] ^= 0x11;
    EXPECT_HOLDS(refusal_of(bad), "(axl.model)");
    EXPECT_HOLDS(refusal_of({good.begin(), good.begin() + at + 1}), "(axl.model)");
  }
}

TEST_F(WholeModel, AnotherKindOfValueIsRefused) {
  GgufMetadata metadata = GgufFile(file).metadata();
  for (auto& [key, value] : metadata)
    if (key == kWholeModelKey) value = std::string("all of it");
  write_gguf(file, metadata, {});
  EXPECT_HOLDS(message_of<Error>([&] { load_model(file); }), "'axl.model'");
}

TEST(Decoded, HoldsTheValuesThatTheCodesStandFor) {
  const TempDir dir;
  ModelConfig config = tiny_config();
  config.ngram = {{2, 3}, 64};
  config.recall = {{1, 2, 4}, 10};
  const Model model = random_model(config);
  save_quantized(model, QuantizedType::kQ8_0, dir / "m.gguf", "m");
  const Model stored = load_model(dir / "m.gguf"), plain = decoded(stored);
  EXPECT_FALSE(plain.is_stored());
  for (const Parameter& p : model.parameters()) {
    float largest = 0, off = 0;
    for (int64_t i = 0; i < p.size(); ++i) {
      largest = std::max(largest, std::abs(model.data()[p.offset + i]));
      off = std::max(off, std::abs(model.data()[p.offset + i] - plain.data()[p.offset + i]));
    }
    EXPECT_LE(off, largest / 127) << p.name;
  }
  EXPECT_EQ(plain.recall().find(0, 12345).first_count, model.recall().find(0, 12345).first_count);
  EXPECT_EQ(decoded(plain).checksum(), plain.checksum());
}

TEST(ReadAs, AFileWithoutAConfigurationTakesOne) {
  const TempDir dir;
  const Model model = lively_model(tiny_config());
  std::vector<TensorSource> tensors;
  for (const Parameter& p : model.parameters())
    tensors.push_back({p.name, DType::kF32, p.shape, model.data() + p.offset});
  const std::filesystem::path file = dir / "state_dict.safetensors";
  write_safetensors(file, tensors, {{"format", "pt"}});
  EXPECT_HOLDS(message_of<Error>([&] { load_model(file); }), "no axl_config");
  EXPECT_EQ(load_model(file, model.config()).checksum(), model.checksum());
  ModelConfig other = model.config();
  other.d_ff += 4;
  EXPECT_HOLDS(message_of<Error>([&] { load_model(file, other); }), "another shape");
  save_model(model, dir.path());
  EXPECT_HOLDS(message_of<Error>([&] { load_model(dir.path(), other); }), "not that given");
}

}  // namespace
}  // namespace axl
