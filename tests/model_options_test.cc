// Gradients, causality and decoding of models with each option of the architecture on.
#include <gtest/gtest.h>

#include <algorithm>

#include "axl/infer/causality.h"
#include "axl/infer/session.h"
#include "options_testing.h"

namespace axl {
namespace {

class ModelOptions : public testing::TestWithParam<Option> {};

// ---- Gradients ----------------------------------------------------------------------------------

/// A training pass of a random model over two sequences, and the slope of its loss.
class Pass {
 public:
  explicit Pass(const ModelConfig& config)
      : model_(random_model(config)),
        activations_(config, 2 * kLength, Activations::Mode::kTraining),
        grads_(config),
        ignored_(config),
        targets_(repetitive_ids(2 * kLength, 5)) {
    for (uint64_t seed : {1, 2})
      for (int32_t id : repetitive_ids(kLength, seed)) ids_.push_back(id);
    targets_[kLength / 2] = -1;
    activations_.lay_out(whole_sequences(2, kLength));
    model_.forward_backward(ids_, targets_, kFineWeight, activations_, grads_.weights);
  }

  const Model& model() const { return model_; }
  const Activations& activations() const { return activations_; }
  const float* gradient(const Parameter& p) const { return grads_.memory.floats() + p.offset; }

  /// Compares the gradient of a tensor with central differences along one random direction: a
  /// mistake in any element shows.
  void expect_slope(const Parameter& p, const std::vector<float>& gradient) {
    float* values = model_.data() + p.offset;
    const std::vector<float> original(values, values + p.size());
    std::vector<float> direction(p.size());
    Rng rng(p.size());
    double analytic = 0, norm = 0;
    for (int64_t i = 0; i < p.size(); ++i) {
      direction[i] = static_cast<float>(rng.normal());
      analytic += double(direction[i]) * gradient[i];
      norm += double(gradient[i]) * gradient[i];
    }
    EXPECT_GT(norm, 0) << p.name;
    const float h = p.role == Role::kVotes ? 2e-4f : 5e-4f;
    const auto moved = [&](float by) {
      for (int64_t i = 0; i < p.size(); ++i) values[i] = original[i] + by * direction[i];
      return model_.forward_backward(ids_, targets_, kFineWeight, activations_, ignored_.weights)
          .total(kFineWeight);
    };
    const double numeric = (moved(h) - moved(-h)) / (2.0 * h);
    std::copy(original.begin(), original.end(), values);
    EXPECT_NEAR(analytic, numeric, 5e-3 * std::sqrt(norm) + 3e-4) << p.name;
  }

 private:
  static constexpr int64_t kLength = 43;  // ends within a group of four and of sixteen
  static constexpr float kFineWeight = 0.3f;
  Model model_;
  Activations activations_;
  ParameterBlock grads_, ignored_;
  std::vector<int32_t> ids_, targets_;
};

TEST_P(ModelOptions, GradientsMatchFiniteDifferences) {
  Pass pass(GetParam().config);
  for (const Parameter& p : dense_part(pass.model().parameters()))
    pass.expect_slope(p, {pass.gradient(p), pass.gradient(p) + p.size()});
}

TEST_P(ModelOptions, GradientsOfTablesMatchFiniteDifferences) {
  Pass pass(GetParam().config);
  const std::vector<Parameter>& parameters = pass.model().parameters();
  const auto tables = std::span(parameters).subspan(dense_part(parameters).size());
  const Model::TableGradient g = Model::table_gradient(pass.activations());
  ASSERT_EQ(g.rows.size(), tables.size());
  std::vector<std::vector<float>> gradients;
  for (size_t t = 0; t < tables.size(); ++t) {
    std::vector<float>& gradient = gradients.emplace_back(tables[t].size());
    for (int64_t r = 0; r < g.dx.rows; ++r)
      for (int64_t i = 0; i < g.dx.cols && g.rows[t][r] >= 0; ++i)
        gradient[g.rows[t][r] * g.dx.cols + i] += g.dx(r, i);
  }
  for (size_t t = 0; t < tables.size(); ++t) pass.expect_slope(tables[t], gradients[t]);
}

// ---- Causality ----------------------------------------------------------------------------------

TEST_P(ModelOptions, AreCausal) {
  const Model model = random_model(GetParam().config);
  EXPECT_NO_THROW(check_causality(model));
  // Random bytes repeat little; three letters do all the time.
  const LogitsOf of_letters = [&](std::span<const int32_t> ids, Mat logits) {
    std::vector<int32_t> letters;
    for (int32_t id : ids) letters.push_back(id < 256 ? 'a' + id % 3 : id);
    copy(full_logits(model, letters).view(), logits);
  };
  EXPECT_NO_THROW(check_causality(of_letters, 64));
}

TEST_P(ModelOptions, ChangingAByteLeavesAllLogitsBeforeItBitForBit) {
  const Model model = random_model(GetParam().config);
  const std::vector<int32_t> ids = repetitive_ids(50, 1);
  const Matrix original = full_logits(model, ids);
  for (size_t t = 1; t < ids.size(); ++t) {
    std::vector<int32_t> other = ids;
    other[t] = other[t] == 'b' ? 'a' : 'b';
    const Matrix changed = full_logits(model, other);
    const auto differs =
        std::mismatch(original.values.begin(), original.values.end(), changed.values.begin());
    EXPECT_EQ((differs.first - original.values.begin()) / kVocab, static_cast<int64_t>(t));
  }
}

TEST_P(ModelOptions, LogitsOfAPrefixAreThePrefixOfTheLogits) {
  const Model model = random_model(GetParam().config);
  const std::vector<int32_t> ids = repetitive_ids(64, 1);
  const Matrix whole = full_logits(model, ids);
  for (size_t n = 1; n < ids.size(); ++n) {
    const Matrix prefix = full_logits(model, std::span(ids).first(n));
    ASSERT_LT(relative_error(prefix.values.data(), whole.values.data(), prefix.values.size()), 1e-5)
        << n;
  }
}

// ---- Decoding -----------------------------------------------------------------------------------

/// Reads `sequences` texts in step, in portions, and compares the logits after each portion with
/// those of a whole pass over what the session holds by then: also after it dropped old inputs.
void expect_full_forward(const Model& model, int64_t sequences, std::vector<int64_t> portions) {
  constexpr int64_t kLength = 150;
  std::vector<std::vector<int32_t>> ids;
  for (int64_t i = 0; i < sequences; ++i) ids.push_back(repetitive_ids(kLength, 10 + i));
  Session session(model, sequences);
  for (int64_t done = 0, turn = 0; done < kLength; ++turn) {
    const int64_t count = std::min(portions[turn % portions.size()], kLength - done);
    std::vector<int32_t> tokens;
    for (const auto& own : ids) tokens.insert(tokens.end(), &own[done], &own[done] + count);
    const std::span<const float> logits = session.append(tokens);
    done += count;
    for (int64_t i = 0; i < sequences; ++i) {
      const auto held = std::span(ids[i]).subspan(session.dropped(), session.length());
      Matrix expected = full_logits(model, held);
      ASSERT_LT(relative_error(&logits[i * kVocab], expected.view().row(held.size() - 1), kVocab),
                1e-4)
          << "sequence " << i << " after " << done;
    }
  }
  EXPECT_EQ(session.dropped() + session.length(), kLength);
  EXPECT_GT(session.dropped(), 0);
}

TEST_P(ModelOptions, DecodeByteByByteAsTheFullForward) {
  expect_full_forward(random_model(GetParam().config), 1, {1});
}

TEST_P(ModelOptions, DecodeInPortionsAsTheFullForward) {
  expect_full_forward(random_model(GetParam().config), 1, {17, 1, 2, 30, 1, 7});
}

TEST_P(ModelOptions, DecodeTwoSequencesInStepAsTheFullForward) {
  expect_full_forward(random_model(GetParam().config), 2, {1, 1, 5, 1, 40, 3});
}

INSTANTIATE_TEST_SUITE_P(Options, ModelOptions, testing::ValuesIn(model_options()),
                         [](const auto& info) { return info.param.name; });

// ---- Attention window ---------------------------------------------------------------------------

/// The first byte whose change alters the logits of the last one.
int64_t first_that_matters(const Model& model, const std::vector<int32_t>& ids) {
  Matrix original = full_logits(model, ids);
  for (size_t t = 0; t < ids.size(); ++t) {
    std::vector<int32_t> other = ids;
    other[t] = 'x';
    Matrix changed = full_logits(model, other);
    if (!std::equal(original.values.end() - kVocab, original.values.end(),
                    changed.values.end() - kVocab))
      return t;
  }
  return ids.size();
}

TEST(AttentionWindow, EndsTheReceptiveField) {
  ModelConfig config = tiny_config();
  config.downsample_factors = {1};
  config.n_layers_per_scale = {2};
  const std::vector<int32_t> ids = repetitive_ids(60, 3);
  EXPECT_EQ(first_that_matters(random_model(config), ids), 0);
  for (int64_t window : {1, 3, 9}) {
    config.attention_window = window;
    // Each of the two layers reaches window − 1 tokens further back.
    EXPECT_EQ(first_that_matters(random_model(config), ids), 59 - 2 * (window - 1)) << window;
  }
}

TEST(AttentionWindow, EndsTheReceptiveFieldOfAllScales) {
  ModelConfig config = tiny_config();
  config.downsample_factors = {1, 4};
  config.attention_window = 2;
  // Fusion at byte 59 shows the token of bytes 56 to 59; each of its two layers, the stack and the
  // one across, reaches one token of four bytes, or two bytes of the fine scale, further back.
  const std::vector<int32_t> ids = repetitive_ids(60, 3);
  const int64_t first = first_that_matters(random_model(config), ids);
  EXPECT_GE(first, 56 - 2 * 4);
  EXPECT_LT(first, 56);
}

}  // namespace
}  // namespace axl
