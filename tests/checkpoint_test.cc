#include "axl/model/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "axl/base/error.h"
#include "axl/formats/safetensors.h"
#include "temp_dir.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

const ModelConfig kConfig{.d_model = 16,
                          .n_heads = 2,
                          .d_ff = 24,
                          .n_layers_per_scale = {1},
                          .n_cross_attn_layers = 1,
                          .downsample_factors = {1, 2},
                          .max_seq_len = 32};

Model some_model() {
  Model model(kConfig);
  model.init(5);
  return model;
}

/// A model's file, laid open to be spoilt and written again.
struct Parts {
  explicit Parts(const Model& model) {
    for (const Parameter& p : model.parameters())
      tensors.push_back({p.name, DType::kF32, p.shape, model.data() + p.offset});
    metadata = {{"format", "pt"}, {"axl_config", to_json(model.config())}};
  }
  TensorSource& tensor(const std::string& name) {
    for (TensorSource& t : tensors)
      if (t.name == name) return t;
    throw std::runtime_error("no tensor " + name);
  }
  std::vector<TensorSource> tensors;
  std::map<std::string, std::string> metadata;
};

class Checkpoint : public testing::Test {
 protected:
  fs::path write(const Parts& parts) {
    write_safetensors(path_, parts.tensors, parts.metadata);
    return path_;
  }
  /// Loading the parts must fail with this in the message, and the name of the file.
  void expect_refused(const Parts& parts, const std::string& part) {
    const std::string message = message_of<Error>([&] { load_model(write(parts)); });
    EXPECT_HOLDS(message, part);
    EXPECT_HOLDS(message, path_.string());
  }

  TempDir dir_;
  fs::path path_ = dir_ / "m.safetensors";
  Model model_ = some_model();
};

bool same_weights(const Model& a, const Model& b) {
  return a.parameter_count() == b.parameter_count() &&
         std::memcmp(a.data(), b.data(), sizeof(float) * a.parameter_count()) == 0;
}

TEST_F(Checkpoint, ComesBackBitForBit) {
  // Extremes too: the smallest subnormal, the largest float, minus zero.
  model_.data()[0] = std::numeric_limits<float>::denorm_min();
  model_.data()[1] = std::numeric_limits<float>::max();
  model_.data()[2] = -0.0f;
  save_model(model_, dir_.path(), {{"axl_step", "12"}});
  for (const fs::path& path : {dir_.path(), dir_ / kModelFile}) {
    const Model loaded = load_model(path);
    EXPECT_EQ(loaded.config(), kConfig);
    EXPECT_TRUE(same_weights(loaded, model_));
  }
  const SafetensorsFile file(dir_ / kModelFile);
  EXPECT_TRUE(file.has_checksum());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("axl_step"), "12");
}

TEST_F(Checkpoint, WithoutAChecksumIsAccepted) {
  // As other writers leave it: the key is renamed within the header, so that all offsets stay.
  write(Parts(model_));
  std::string file = get(path_);
  const size_t key = file.find("axl_checksum");
  ASSERT_NE(key, std::string::npos);
  file.replace(key, 12, "not_checksum");
  put(path_, file);
  EXPECT_FALSE(SafetensorsFile(path_).has_checksum());
  EXPECT_TRUE(same_weights(load_model(path_), model_));
}

TEST_F(Checkpoint, InBf16IsWidened) {
  std::vector<std::vector<uint16_t>> halves;
  Parts parts(model_);
  for (TensorSource& t : parts.tensors) {
    int64_t count = 1;
    for (const int64_t d : t.shape) count *= d;
    std::vector<uint16_t> half(count);
    for (int64_t i = 0; i < count; ++i)
      half[i] = std::bit_cast<uint32_t>(static_cast<const float*>(t.data)[i]) >> 16;
    halves.push_back(std::move(half));
    t.dtype = DType::kBF16;
    t.data = halves.back().data();
  }
  const Model loaded = load_model(write(parts));
  for (int64_t i = 0; i < loaded.parameter_count(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(model_.data()[i]) & 0xffff0000u;
    ASSERT_EQ(loaded.data()[i], std::bit_cast<float>(bits)) << i;
  }
}

TEST_F(Checkpoint, RefusesOtherTensors) {
  Parts missing(model_), surplus(model_), turned(model_), flat(model_), integers(model_);
  missing.tensors.pop_back();
  expect_refused(missing, "output.weight");

  const float one = 1;
  surplus.tensors.push_back({"surplus", DType::kF32, {1}, &one});
  expect_refused(surplus, "'surplus'");

  std::swap(turned.tensor("down.2.weight").shape[0], turned.tensor("down.2.weight").shape[1]);
  expect_refused(turned, "down.2.weight");

  flat.tensor("out_norm.weight").shape = {1, 16};
  expect_refused(flat, "out_norm.weight");

  integers.tensor("out_norm.weight").dtype = DType::kI32;
  expect_refused(integers, "out_norm.weight");
}

TEST_F(Checkpoint, RefusesValuesThatAreNotFinite) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    Model model = some_model();
    model.data()[model.parameter_count() / 2] = bad;
    expect_refused(Parts(model), "damaged or diverged");
  }
}

TEST_F(Checkpoint, RefusesAMissingOrBrokenConfiguration) {
  const auto with = [&](const std::string& config) {
    Parts parts(model_);
    parts.metadata["axl_config"] = config;
    return parts;
  };
  const std::string good = to_json(kConfig);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from << " in " << good;
    return with(text.replace(at, from.size(), to));
  };
  Parts none(model_);
  none.metadata.erase("axl_config");
  expect_refused(none, "not a model of axl");
  expect_refused(with(""), "");
  expect_refused(with("{"), "");
  expect_refused(with("[]"), "");
  expect_refused(with("{}"), "is missing");
  expect_refused(replaced("\"d_ff\"", "\"d_fff\""), "d_ff");
  expect_refused(replaced("\"n_heads\":2", "\"n_heads\":3"), "n_heads");
  expect_refused(replaced("\"n_heads\":2", "\"n_heads\":0"), "n_heads");
  expect_refused(replaced("\"d_ff\":24", "\"d_ff\":32"), "another shape");
  expect_refused(replaced("\"d_ff\":24", "\"d_ff\":-24"), "d_ff");
}

TEST_F(Checkpoint, RefusesInsaneConfigurations) {
  // A header may claim anything; no memory is taken and no table built for it: either would last
  // beyond a test's time, or fail.
  const std::pair<const char*, const char*> claims[] = {
      {"\"d_model\":16", "\"d_model\":1000000000"},
      {"\"d_model\":16", "\"d_model\":65536"},
      {"\"n_layers_per_scale\":1", "\"n_layers_per_scale\":1000000000"},
      {"\"n_layers_per_scale\":1", "\"n_layers_per_scale\":1024"},
      {"\"n_cross_attn_layers\":1", "\"n_cross_attn_layers\":1024"},
      {"\"max_seq_len\":32", "\"max_seq_len\":9223372036854775807"},
      {"\"max_seq_len\":32", "\"max_seq_len\":1e300"},
  };
  for (const auto& [from, to] : claims) {
    Parts parts(model_);
    std::string& config = parts.metadata["axl_config"];
    const size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    config.replace(at, std::strlen(from), to);
    expect_refused(parts, "");
  }
}

TEST_F(Checkpoint, RefusesTruncationAtEveryPlaceTried) {
  const std::string whole = get(write(Parts(model_)));
  for (size_t size = 0; size < whole.size(); size += 97) {
    put(path_, whole.substr(0, size));
    EXPECT_HOLDS(message_of<Error>([&] { load_model(path_); }), path_.string());
  }
  put(path_, whole + "x");
  EXPECT_HOLDS(message_of<Error>([&] { load_model(path_); }), path_.string());
}

TEST_F(Checkpoint, SavesWholeOrNotAtAll) {
  save_model(model_, dir_.path());
  const std::string before = get(dir_ / kModelFile);
  EXPECT_EQ(entries(dir_.path()), 1);  // no temporary is left
  fs::create_directory(dir_ / "sub");
  fs::create_directory(dir_ / "sub" / kModelFile);  // in the way
  EXPECT_HOLDS(message_of<Error>([&] { save_model(model_, dir_ / "sub"); }), "regular file");
  EXPECT_HOLDS(message_of<Error>([&] { save_model(model_, dir_ / "nowhere"); }), "nowhere");
  EXPECT_TRUE(get(dir_ / kModelFile) == before);
}

TEST_F(Checkpoint, RemovesWhatAKilledWriterLeft) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  const std::string temporary = std::string(kModelFile) + ".tmp.";
  const fs::path abandoned = dir_ / (temporary + std::to_string(gone));
  const fs::path in_use = dir_ / (temporary + std::to_string(getppid()));
  const fs::path notes = dir_ / (temporary + "1234notes"), other = dir_ / "other.tmp.99999999";
  for (const fs::path& path : {abandoned, in_use, notes, other}) put(path, "half");
  save_model(model_, dir_.path());
  EXPECT_FALSE(fs::exists(abandoned));
  for (const fs::path& path : {in_use, notes, other}) EXPECT_TRUE(fs::exists(path)) << path;
}

TEST_F(Checkpoint, NamesWhatIsNotThere) {
  EXPECT_HOLDS(message_of<Error>([&] { load_model(dir_ / "nowhere"); }), "nowhere");
  EXPECT_HOLDS(message_of<Error>([&] { load_model(dir_.path()); }), kModelFile);
}

}  // namespace
}  // namespace axl
