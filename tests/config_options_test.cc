// The keys that a configuration has beyond the PyTorch definition: nested, lists or plain values,
// left out of model files where they are at their defaults.
#include <gtest/gtest.h>

#include "axl/model/lookup.h"
#include "config_testing.h"
#include "options_testing.h"

namespace axl {
namespace {

Config config_of(const ModelConfig& model) {
  Config config;
  config.model = model;
  return config;
}

TEST(ConfigOptions, YamlAndJsonRoundTrip) {
  for (const Option& option : model_options()) {
    const Config config = config_of(option.config);
    EXPECT_NO_THROW(config.validate()) << option.name;
    EXPECT_TRUE(parse_config(config_yaml(config), "written").model == config.model) << option.name;
    EXPECT_TRUE(model_config_from_json(to_json(config.model), "x") == config.model) << option.name;
  }
}

TEST(ConfigOptions, JsonOfADefaultHasOnlyTheKeysOfTheDefinition) {
  EXPECT_EQ(to_json(ModelConfig{}),
            R"({"d_model":256,"n_heads":4,"d_ff":688,"n_layers_per_scale":3,)"
            R"("n_cross_attn_layers":1,"downsample_factors":[1,2,4],"max_seq_len":256,)"
            R"("vocab_size":258,"rope_theta":10000.0,"norm_eps":1e-05})");
}

TEST(ConfigOptions, JsonHasExactlyTheKeysThatAreNotAtTheirDefaults) {
  ModelConfig config;
  const std::string plain = to_json(config);
  const std::string start = plain.substr(0, plain.size() - 1);
  config.fusion = "sum";
  config.ngram.rows = 100;
  EXPECT_EQ(to_json(config), start + R"(,"fusion":"sum","ngram.rows":100})");
  config = {};
  config.attention_window = 64;
  config.repeats = {4};
  config.recall.orders = {2, 3};
  EXPECT_EQ(to_json(config),
            start + R"(,"attention_window":64,"repeats":[4],"recall.orders":[2,3]})");
}

TEST(ConfigOptions, AMissingKeyOfTheDefinitionIsNotMistakenForAnExtension) {
  ModelConfig config;
  config.ngram.orders = {2};
  std::string json = to_json(config);
  json.erase(json.find("\"d_ff\":688,"), 11);
  try {
    model_config_from_json(json, "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "x: 'd_ff' is missing");
  }
}

TEST(ConfigOptions, LayersAreOneNumberOrAList) {
  const auto layers = [](const std::string& text) {
    return parse_config("model:\n  n_layers_per_scale: " + text + "\n", "x.yaml")
        .model.n_layers_per_scale;
  };
  using List = std::vector<int64_t>;
  EXPECT_EQ(layers("5"), List{5});
  EXPECT_EQ(layers("[5]"), List{5});
  EXPECT_EQ(layers("[5, 1, 2]"), (List{5, 1, 2}));

  Config config;
  config.model.n_layers_per_scale = {5};
  expect_contains(config_yaml(config), "  n_layers_per_scale: 5\n");
  expect_contains(to_json(config.model), R"("n_layers_per_scale":5,)");
  config.model.n_layers_per_scale = {5, 1, 2};
  expect_contains(config_yaml(config), "  n_layers_per_scale: [5, 1, 2]\n");
  expect_contains(to_json(config.model), R"("n_layers_per_scale":[5,1,2],)");
  EXPECT_EQ(config.model.layers(1), 1);
  EXPECT_EQ(config.model.max_layers(), 5);
  // Other lists stay lists.
  config.model.ngram.orders = {3};
  expect_contains(config_yaml(config), "    orders: [3]\n");
  expect_contains(to_json(config.model), R"("ngram.orders":[3])");
}

TEST(ConfigOptions, NestedSectionsAreReadInEveryNotation) {
  for (const char* text : {"model:\n  ngram: {orders: [2, 4], rows: 99}\n  recall: {bits: 12}\n",
                           "model:\n  recall:\n    bits: 12\n  ngram:\n    rows: 99\n"
                           "    orders:\n      - 2\n      - 4\n"}) {
    const ModelConfig model = parse_config(text, "x.yaml").model;
    EXPECT_EQ(model.ngram.orders, (std::vector<int64_t>{2, 4}));
    EXPECT_EQ(model.ngram.rows, 99);
    EXPECT_EQ(model.recall.bits, 12);
  }
  const std::vector<std::string> overrides = {"model.ngram.orders=[3]", "model.ngram.rows=7"};
  const ModelConfig model = load_config("axl_micro", overrides).model;
  EXPECT_EQ(model.ngram.orders, std::vector<int64_t>{3});
  EXPECT_EQ(model.ngram.rows, 7);
}

TEST(ConfigOptions, NestedSectionsAreWrittenOnce) {
  const std::string yaml = config_yaml(Config{});
  for (const char* section : {"\n  ngram:\n", "\n  recall:\n", "\nmodel:\n", "\ntrain:\n"}) {
    const size_t at = yaml.find(section);
    ASSERT_NE(at, yaml.npos) << section;
    EXPECT_EQ(yaml.find(section, at + 1), yaml.npos) << section;
  }
}

TEST(ConfigOptions, ErrorsNameTheLineAndTheNearestNestedKey) {
  const std::string order = parse_error("model:\n  ngram:\n    order: [2]\n");
  expect_contains(order, "x.yaml:3: ");
  expect_contains(order, "did you mean 'model.ngram.orders'");
  expect_contains(parse_error("model:\n  ngrm: {orders: [2]}\n"), "did you mean 'model.ngram'");
  expect_contains(parse_error("model:\n  recal:\n    bits: 9\n"), "did you mean 'model.recall'");
  expect_contains(parse_error("model:\n  ngram: 3\n"), "x.yaml:2: expected keys below");
  expect_contains(parse_error("model:\n  ngram: {rows: 1, rows: 2}\n"), "'model.ngram.rows'");
  expect_contains(parse_error("model:\n  ngram: {rows: 0}\n"), "model.ngram.rows is '0'");
  expect_contains(parse_error("model:\n  fusion: gat\n"), "did you mean 'gate'");
  expect_contains(
      usage_error([] { load_config("axl_micro", std::vector<std::string>{"model.ngram.row=3"}); }),
      "did you mean 'model.ngram.rows'");
}

TEST(ConfigOptions, ValidateRefusesWhatCannotBeBuilt) {
  struct Case {
    std::string expected;
    std::function<void(ModelConfig&)> change;
  };
  const std::vector<Case> cases = {
      {"model.ngram.orders must ascend, but 2 follows 3",
       [](ModelConfig& c) {
         c.ngram.orders = {3, 2};
       }},
      {"model.recall.orders must ascend, but 4 follows 4",
       [](ModelConfig& c) {
         c.recall.orders = {4, 4};
       }},
      {"model.repeats must ascend, but 1 follows 9",
       [](ModelConfig& c) {
         c.repeats = {9, 1};
       }},
      {"lists 2 numbers for 3 scales",
       [](ModelConfig& c) {
         c.n_layers_per_scale = {1, 2};
       }},
      {"lists 0 numbers for 3 scales", [](ModelConfig& c) { c.n_layers_per_scale = {}; }},
      {"n_layers_per_scale",
       [](ModelConfig& c) {
         c.n_layers_per_scale = {1, 0, 1};
       }},
      {"repeats is '28'", [](ModelConfig& c) { c.repeats = {kMemoryLevels}; }},
      {"ngram.orders is '0'", [](ModelConfig& c) { c.ngram.orders = {0}; }},
      {"recall.bits is '29'", [](ModelConfig& c) { c.recall.bits = 29; }},
      {"fusion is 'product'", [](ModelConfig& c) { c.fusion = "product"; }},
      {"attention_window is '-1'", [](ModelConfig& c) { c.attention_window = -1; }},
  };
  for (const Case& test : cases) {
    ModelConfig config;
    test.change(config);
    expect_contains(usage_error([&] { config.validate(); }), test.expected);
  }
}

}  // namespace
}  // namespace axl
