// Checkpoints of models with embedding tables and a recall memory.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <list>

#include "axl/base/error.h"
#include "axl/base/rng.h"
#include "axl/formats/safetensors.h"
#include "axl/model/checkpoint.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

const ModelConfig kConfig{.d_model = 2,
                          .n_heads = 1,
                          .d_ff = 4,
                          .n_layers_per_scale = {1},
                          .n_cross_attn_layers = 1,
                          .downsample_factors = {1, 2},
                          .max_seq_len = 16,
                          .ngram = {.orders = {2, 3}, .rows = 50},
                          .repeats = {3},
                          .recall = {.orders = {2, 5}, .bits = 8}};

Model some_model() {
  Model model(kConfig);
  model.init(5);
  Rng rng(9);
  for (const Parameter& p : model.parameters())
    for (int64_t i = 0; i < p.size() && (p.role == Role::kTable || p.role == Role::kVotes); ++i)
      model.data()[p.offset + i] = static_cast<float>(rng.normal());
  for (int64_t i = 0; i < 2 * model.recall().slots(); ++i)
    model.recall().data(0)[i] = static_cast<uint32_t>(rng.next());
  return model;
}

float widened(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

/// The nearest of all finite bf16 numbers with the sign of x; of two, the one with an even last
/// bit. By search, not by arithmetic on bits.
float nearest_bf16(float x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  uint16_t below = 0, above = 0x7F7F;  // magnitudes around |x|
  while (above - below > 1) {
    const uint16_t middle = (below + above) / 2;
    (widened(middle) <= std::abs(x) ? below : above) = middle;
  }
  const double down = std::abs(x) - double(widened(below));
  const double up = double(widened(above)) - std::abs(x);
  const uint16_t half = down < up || (down == up && below % 2 == 0) ? below : above;
  return widened(half | sign);
}

class MemoryCheckpoint : public testing::Test {
 protected:
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  /// What save_model wrote, laid open to be spoilt and written again.
  MemoryCheckpoint() {
    save_model(model_, dir_.path());
    const SafetensorsFile file(dir_ / kModelFile);
    for (const auto& [name, t] : file.tensors())
      tensors_[name] = {t.dtype, t.shape, std::string(t.bytes)};
    metadata_ = file.metadata();
    metadata_.erase("axl_checksum");
  }
  void write() {
    std::vector<TensorSource> sources;
    for (const auto& [name, t] : tensors_)
      sources.push_back({name, t.dtype, t.shape, t.bytes.data()});
    write_safetensors(path_, sources, metadata_);
  }
  void expect_refused(const std::string& part) {
    write();
    const std::string message = message_of<Error>([&] { load_model(path_); });
    EXPECT_HOLDS(message, part);
    EXPECT_HOLDS(message, path_.string());
  }

  TempDir dir_;
  fs::path path_ = dir_ / "m.safetensors";
  Model model_ = some_model();
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

void expect_same_slots(const Model& a, const Model& b) {
  EXPECT_EQ(std::memcmp(a.recall().data(0), b.recall().data(0),
                        sizeof(uint32_t) * 2 * a.recall().slots()),
            0);
}

TEST_F(MemoryCheckpoint, ComesBackWithTablesRoundedToBf16) {
  const Parameter& table = model_.parameters().back();
  ASSERT_EQ(table.role, Role::kTable);
  const float extremes[] = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1p-9f, -1 - 0x3p-9f, -0.0f, 1e-40f};
  std::copy(std::begin(extremes), std::end(extremes), model_.data() + table.offset);
  save_model(model_, dir_.path());
  const Model loaded = load_model(dir_.path());
  EXPECT_EQ(loaded.config(), kConfig);
  expect_same_slots(loaded, model_);
  for (const Parameter& p : model_.parameters()) {
    for (int64_t i = p.offset; i < p.offset + p.size(); ++i) {
      const float x = model_.data()[i];
      const float expected = p.role == Role::kTable ? nearest_bf16(x) : x;
      ASSERT_EQ(std::bit_cast<uint32_t>(loaded.data()[i]), std::bit_cast<uint32_t>(expected))
          << p.name << ": " << x;
    }
  }
  const std::string bytes = get(dir_ / kModelFile);
  save_model(loaded, dir_.path());  // rounding again changes nothing
  EXPECT_TRUE(get(dir_ / kModelFile) == bytes);
}

TEST_F(MemoryCheckpoint, IsReadWithTablesInF32) {
  int tables = 0;
  for (const Parameter& p : model_.parameters()) {
    if (p.role != Role::kTable) continue;
    ++tables;
    const auto* values = reinterpret_cast<const char*>(model_.data() + p.offset);
    tensors_[p.name].dtype = DType::kF32;
    tensors_[p.name].bytes.assign(values, sizeof(float) * p.size());
  }
  EXPECT_EQ(tables, 2 + 2 * 2 + 1);
  write();
  const Model loaded = load_model(path_);
  EXPECT_EQ(std::memcmp(loaded.data(), model_.data(), sizeof(float) * model_.parameter_count()), 0);
  expect_same_slots(loaded, model_);
}

TEST_F(MemoryCheckpoint, RefusesOtherSlots) {
  const std::string name = "recall.5.slots";
  const Tensor good = tensors_.at(name);
  for (const DType dtype : {DType::kI32, DType::kF32}) {
    tensors_[name].dtype = dtype;
    expect_refused(name);
  }
  tensors_[name] = good;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{255}, {16, 16}, {1, 256}, {0}}) {
    tensors_[name].shape = shape;
    expect_refused(name);
  }
  tensors_.erase(name);
  expect_refused(name);
  tensors_[name] = tensors_["recall.7.slots"] = good;
  expect_refused("recall.7.slots");
  tensors_.erase("recall.7.slots");
  write();
  EXPECT_NO_THROW(load_model(path_));
}

TEST_F(MemoryCheckpoint, RefusesATableThatIsNotFinite) {
  for (const uint16_t bad : {0x7FC0, 0x7F80, 0xFF80, 0x7F81}) {
    std::string& bytes = tensors_["table.3.weight"].bytes;
    const std::string good = bytes;
    std::memcpy(bytes.data() + bytes.size() / 4 * 2, &bad, sizeof bad);
    expect_refused("damaged or diverged");
    bytes = good;
  }
}

TEST_F(MemoryCheckpoint, RefusesTruncationAtEveryPlaceTried) {
  const std::string whole = get(dir_ / kModelFile);
  std::vector<size_t> sizes;
  for (size_t size = 0; size < whole.size(); size += 397) sizes.push_back(size);
  for (size_t size = whole.size() - 20; size < whole.size(); ++size) sizes.push_back(size);
  for (const size_t size : sizes) {
    put(path_, whole.substr(0, size));
    EXPECT_HOLDS(message_of<Error>([&] { load_model(path_); }), path_.string());
  }
}

/// The most memory that this process has ever reserved, in bytes.
int64_t reserved_bytes() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmPeak:")) return std::stoll(line.substr(7)) * 1024;
  ADD_FAILURE() << "no VmPeak";
  return 0;
}

// A header may claim anything; no memory is taken for it.
TEST_F(MemoryCheckpoint, RefusesInsaneMemoriesAtOnce) {
  const std::string good = metadata_.at("axl_config");
  std::string all_orders;
  for (int n = 1; n <= 64; ++n) all_orders += (n > 1 ? "," : "") + std::to_string(n);
  const auto claim = [&](const std::string& from, const std::string& to) {
    std::string text = metadata_.at("axl_config");
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from << " in " << text;
    metadata_["axl_config"] = text.replace(at, from.size(), to);
  };
  const int64_t before = reserved_bytes();
  claim("\"recall.bits\":8", "\"recall.bits\":28");
  expect_refused("recall.2.slots");
  claim("\"recall.orders\":[2,5]", "\"recall.orders\":[" + all_orders + "]");
  expect_refused("");
  metadata_["axl_config"] = good;
  claim("\"ngram.rows\":50", "\"ngram.rows\":16777216");
  expect_refused("table.0.weight");
  metadata_["axl_config"] = good;
  claim("\"recall.bits\":8", "\"recall.bits\":63");
  expect_refused("recall.bits");
  metadata_["axl_config"] = good;
  claim("\"recall.orders\":[2,5]", "\"recall.orders\":[5,2]");
  expect_refused("ascend");
  EXPECT_LT(reserved_bytes() - before, 64 << 20);
}

}  // namespace
}  // namespace axl
