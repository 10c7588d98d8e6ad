#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/formats/safetensors.h"
#include "axl/model/config.h"
#include "axl/model/cost.h"
#include "axl/train/config.h"
#include "cli/config_file.h"
#include "config_testing.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

/// Parameters that the family's models are published with.
const std::map<std::string, double> kPublished = {
    {"axl_micro_600k", 600e3}, {"axl_comment", 7.2e6},    {"axl_docs", 9.9e6},
    {"axl_chat", 9.9e6},       {"axl_secure", 11.7e6},    {"axl_micro", 12.8e6},
    {"axl_micro_8m", 12.8e6},  {"axl_chat_pro", 12.8e6},  {"axl_debugger", 14.1e6},
    {"axl_testgen", 15.2e6},   {"axl_translate", 15.2e6}, {"axl_refactor", 19.1e6},
    {"axl_fixer", 20.9e6},     {"axl_coder", 26.0e6},     {"axl_reasoning", 70e6},
    {"axl_code_1b", 318e6},    {"axl_300m", 322e6},
};

// Configurations beside the family.
const std::set<std::string> kOurs = {"axl_quick", "axl_best", "axl_1b"};

std::vector<fs::path> shipped_configs() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(AXL_SOURCE_DIR "/configs")) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  return paths;
}

TEST(Configs, CountsMatchThePublishedOnesWithinOnePercent) {
  ASSERT_GE(shipped_configs().size(), 5u);
  for (const fs::path& path : shipped_configs()) {
    if (kOurs.count(path.stem().string())) continue;
    const auto published = kPublished.find(path.stem().string());
    ASSERT_NE(published, kPublished.end()) << path << " is not in the table of this test";
    const double count = count_parameters(load_config(path.string()).model).total();
    EXPECT_NEAR(count, published->second, 0.01 * published->second) << path;
  }
}

TEST(Configs, OfOneBillionParametersHasThem) {
  const double count = count_parameters(load_config("axl_1b").model).total();
  EXPECT_NEAR(count, 1e9, 0.01e9);
}

TEST(Configs, AreNamedAfterTheirFile) {
  for (const fs::path& path : shipped_configs()) {
    EXPECT_EQ(load_config(path.string()).name, path.stem().string());
  }
}

TEST(Configs, OfMicroExplainsEveryKey) {
  const std::string text = read_text(AXL_SOURCE_DIR "/configs/axl_micro.yaml");
  Config config;
  for (const Field& field : config.fields()) {
    if (field.name == "train.suffixes") continue;  // described, its list is long
    size_t at = 0;                                 // of the last section found
    std::string indent = "\n", rest = field.name;
    for (size_t dot; (dot = rest.find('.')) != rest.npos; indent += "  ") {
      at = text.find(indent + rest.substr(0, dot) + ":", at);
      ASSERT_NE(at, text.npos) << field.name;
      rest.erase(0, dot + 1);
    }
    expect_contains(text.substr(at), indent + rest + ": ");
  }
}

TEST(ModelConfig, JsonHasTheKeysOfTheDefinitionInItsOrder) {
  const SafetensorsFile file(AXL_TEST_DIR "/golden/tiny.safetensors");
  const std::string theirs = file.metadata().at("axl_config");
  const std::string ours = to_json(model_config_from_json(theirs, "tiny"));
  const auto keys = [](const std::string& json) {
    std::string found;
    for (size_t at = 0; (at = json.find('"', at)) != json.npos;) {
      const size_t end = json.find('"', at + 1);
      found += json.substr(at, end - at + 1);
      at = end + 1;
    }
    return found;
  };
  EXPECT_EQ(keys(ours), keys(theirs));
}

TEST(ModelConfig, JsonRoundTrips) {
  ModelConfig config;
  config.d_model = 96;
  config.n_heads = 6;
  config.downsample_factors = {1, 3, 7};
  config.max_seq_len = 50;
  config.rope_theta = 12345.678901234567;
  config.norm_eps = 1.0 / 3e6;
  EXPECT_EQ(model_config_from_json(to_json(config), "x"), config);
}

TEST(ModelConfig, JsonRefusesAnotherVocabulary) {
  std::string json = to_json(ModelConfig{});
  json.replace(json.find("258"), 3, "256");
  try {
    model_config_from_json(json, "model.safetensors");
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with("model.safetensors"));
    expect_contains(e.what(), "vocab_size");
  }
}

TEST(ModelConfig, JsonRefusesAMissingKey) {
  ModelConfig config;
  for (const Field& field : config.fields()) {
    std::string json = to_json(ModelConfig{});
    const size_t begin = json.find('"' + field.name + '"');
    if (begin == json.npos) continue;  // an extension, in files only where it is used
    const size_t end = json.find('"', begin + field.name.size() + 2);
    const bool last = end == json.npos;
    json.erase(last ? begin - 1 : begin, last ? json.size() - begin : end - begin);
    try {
      model_config_from_json(json, "model.safetensors");
      FAIL() << json;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()), format("model.safetensors: '{}' is missing", field.name));
    }
  }
}

TEST(ModelConfig, JsonRefusesWhatDoesNotFitTogether) {
  std::string json = to_json(ModelConfig{});
  json.replace(json.find("256"), 3, "250");
  try {
    model_config_from_json(json, "model.safetensors");
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with("model.safetensors: "));
  }
}

TEST(ModelConfig, ValidateRefusesWhatCannotBeBuilt) {
  struct Case {
    std::string expected;
    std::function<void(ModelConfig&)> change;
  };
  const std::vector<Case> cases = {
      {"n_heads must divide", [](ModelConfig& c) { c.n_heads = 3; }},
      {"must be even", [](ModelConfig& c) { c.d_model = 12, c.n_heads = 4; }},
      {"begin with 1",
       [](ModelConfig& c) {
         c.downsample_factors = {2, 4};
       }},
      {"begin with 1", [](ModelConfig& c) { c.downsample_factors = {}; }},
      {"ascend",
       [](ModelConfig& c) {
         c.downsample_factors = {1, 4, 2};
       }},
      {"ascend",
       [](ModelConfig& c) {
         c.downsample_factors = {1, 2, 2};
       }},
      {"too short", [](ModelConfig& c) { c.max_seq_len = 3; }},
      {"d_model", [](ModelConfig& c) { c.d_model = 65538; }},
      {"n_layers_per_scale", [](ModelConfig& c) { c.n_layers_per_scale = {1025}; }},
      {"max_seq_len", [](ModelConfig& c) { c.max_seq_len = 1048577; }},
      {"scales",
       [](ModelConfig& c) {
         c.downsample_factors.clear();
         for (int64_t s = 1; s <= 17; ++s) c.downsample_factors.push_back(s);
       }},
      {"parameters",
       [](ModelConfig& c) { c.d_model = 65536, c.d_ff = 1048576, c.n_layers_per_scale = {1024}; }},
      {"blocks",
       [](ModelConfig& c) {
         c.d_model = 2, c.n_heads = 1, c.d_ff = 1, c.n_cross_attn_layers = 1024;
         c.downsample_factors = {1, 2, 3, 4, 5, 6, 7, 8};
       }},
      {"norm_eps", [](ModelConfig& c) { c.norm_eps = 0; }},
  };
  ModelConfig().validate();
  for (const Case& test : cases) {
    ModelConfig config;
    test.change(config);
    expect_contains(usage_error([&] { config.validate(); }), test.expected);
  }
}

TEST(ModelConfig, FactorsNeedNotDivideEachOther) {
  ModelConfig config;
  config.downsample_factors = {1, 2, 3, 7};
  config.max_seq_len = 7;
  EXPECT_NO_THROW(config.validate());
}

TEST(TrainConfig, ValidateRefusesWhatHasNoMeaning) {
  struct Case {
    std::string expected;
    std::function<void(TrainConfig&)> change;
  };
  const std::vector<Case> cases = {
      {"betas must be two", [](TrainConfig& c) { c.betas = {0.9}; }},
      {"betas must be at least 0 and below 1",
       [](TrainConfig& c) {
         c.betas = {0.9, 1.0};
       }},
      {"momentum must be", [](TrainConfig& c) { c.momentum = 1; }},
      {"suffixes must begin with a dot", [](TrainConfig& c) { c.suffixes = {"py"}; }},
      {"train.max_time: 'soon'", [](TrainConfig& c) { c.max_time = "soon"; }},
      {"train.max_time", [](TrainConfig& c) { c.max_time = "0s"; }},
  };
  TrainConfig().validate();
  for (const Case& test : cases) {
    TrainConfig config;
    test.change(config);
    expect_contains(usage_error([&] { config.validate(); }), test.expected);
  }
}

TEST(Config, NamesThatAreNoDirectoryAreRefused) {
  for (const char* name : {"", "..", ".", "a/b", "-rf", "a b", "a\nb"}) {
    Config config;
    config.name = name;
    expect_contains(usage_error([&] { config.validate(); }), "name is");
  }
}

TEST(Config, YamlRoundTrips) {
  Config config;
  config.name = "null";
  config.model.downsample_factors = {1};
  config.model.norm_eps = 1.0 / 3e7;
  config.train.lr = 0.1 + 0.2;
  config.train.data = {"a, b",
                       "",
                       "~",
                       "C:\\x",
                       "it's \"quoted\" # here",
                       "tab\there\nline",
                       "- x",
                       "ünï",
                       "true",
                       "3",
                       "{a: b}",
                       "[",
                       "*a",
                       "&b",
                       "!c",
                       "%d",
                       "\x01"};
  config.train.max_time = "1h30m";
  Config back = parse_config(config_yaml(config), "written");
  expect_equal(back, config);
  EXPECT_EQ(back.train.data, config.train.data);
}

TEST(Config, YamlOfShippedConfigsRoundTrips) {
  for (const fs::path& path : shipped_configs()) {
    Config config = load_config(path.string());
    Config back = parse_config(config_yaml(config), "written");
    expect_equal(back, config);
  }
}

TEST(Config, YamlErrorsNameFileLineAndNearestKey) {
  expect_contains(parse_error("name: a\ntrain:\n  lrr: 1\n"), "x.yaml:3: ");
  expect_contains(parse_error("name: a\ntrain:\n  lrr: 1\n"), "'train.lr'");
  expect_contains(parse_error("modle:\n  d_model: 1\n"), "x.yaml:1: unknown key 'modle'");
  expect_contains(parse_error("modle:\n  d_model: 1\n"), "'model'");
  expect_contains(parse_error("train:\n  lr: fast\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  lr: [1, 2]\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  lr: {a: 1}\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  lr: 1000\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  table_lr: -1\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  recall_bytes: -1\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  lr: .nan\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  steps: 1.5\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  steps: 99999999999999999999\n"), "x.yaml:2: ");
  expect_contains(parse_error("train:\n  data:\n"), "'train.data' has no value");
  expect_contains(parse_error("train:\n  data: [[a]]\n"), "plain values");
  expect_contains(parse_error("train:\n  optimizer: loin\n"), "'lion'");
  expect_contains(parse_error("train: 3\n"), "x.yaml:1: ");
  expect_contains(parse_error("name: a\nname: b\n"), "x.yaml:2: 'name'");
  expect_contains(parse_error("train:\n  lr: 1\n  lr: 2\n"), "x.yaml:3: 'train.lr'");
  expect_contains(parse_error("train: {lr: 1}\ntrain: {steps: 2}\n"), "x.yaml:2: 'train'");
  expect_contains(parse_error("name: [a\n"), "not valid YAML");
  expect_contains(parse_error("name: a\n---\nname: b\n"), "2 documents");
  expect_contains(parse_error(""), "holds nothing");
  expect_contains(parse_error("- a\n"), "something else");
  expect_contains(parse_error("? [a]\n: b\n"), "a key must be a word");
}

TEST(Config, YamlBombsAreRefusedQuickly) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += format("a{}: &a{} [", i, i);
    for (int j = 0; j < 9; ++j) bomb += format("*a{}, ", i - 1);
    bomb += "]\n";
  }
  expect_contains(parse_error(bomb), "unknown key 'a0'");
  expect_contains(parse_error(std::string(100000, '[')), "not valid YAML");
  expect_contains(parse_error("train: &t\n  data: *t\n"), "x.yaml:");
}

TEST(Config, FilesOverTheLimitAreRefused) {
  const fs::path path = fs::path(testing::TempDir()) / "large.yaml";
  write_text(path, "name: a\n#" + std::string(1 << 20, 'x'));
  expect_contains(usage_error([&] { load_config(path.string()); }), "larger than 1 MiB");
  fs::remove(path);
}

TEST(Config, IsNamedAfterItsFileWhenItHasNoName) {
  const fs::path path = fs::path(testing::TempDir()) / "nameless.yaml";
  write_text(path, "train:\n  steps: 3\n");
  EXPECT_EQ(load_config(path.string()).name, "nameless");
  fs::remove(path);
}

TEST(Config, IsFoundByNameAndByPathWithAndWithoutSuffix) {
  for (const char* name : {"axl_micro", "axl_micro.yaml", AXL_SOURCE_DIR "/configs/axl_micro",
                           AXL_SOURCE_DIR "/configs/axl_micro.yaml"}) {
    EXPECT_EQ(find_config(name).filename(), "axl_micro.yaml");
  }
}

TEST(Config, UnknownNamesListTheKnownOnes) {
  const std::string message = usage_error([] { find_config("axl_mirco"); });
  expect_contains(message, "did you mean 'axl_micro'");
  expect_contains(message, "axl_300m");
}

TEST(Config, OverridesWinAndAreChecked) {
  const std::vector<std::string> good = {"train.lr=5e-4", "model.downsample_factors=[1, 3]",
                                         "train.data=some/dir", "train.max_time="};
  const Config config = load_config("axl_micro", good);
  EXPECT_EQ(config.train.lr, 5e-4);
  EXPECT_EQ(config.model.downsample_factors, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(config.train.data, std::vector<std::string>{"some/dir"});
  EXPECT_EQ(config.train.max_time, "");
  const auto error = [](const std::string& text) {
    return usage_error([&] { load_config("axl_micro", std::vector{text}); });
  };
  expect_contains(error("train.lrr=1"), "'train.lr'");
  expect_contains(error("train.lr"), "key=value");
  expect_contains(error("train.lr=x"), "--set");
  expect_contains(error("model.n_heads=3"), "axl_micro.yaml: model.n_heads must divide");
}

}  // namespace
}  // namespace axl
