// A student that learns from a teacher: loss, gradient, and runs of the trainer.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "axl/kernels/elementwise.h"
#include "axl/model/checkpoint.h"
#include "options_testing.h"
#include "train_testing.h"

namespace axl {
namespace {

using Row = std::vector<double>;

Row random_row(Rng& rng, double size) {
  Row row(kVocab);
  for (double& v : row) v = size * rng.normal();
  return row;
}

Row softmax(Row x, double temperature) {
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v / temperature);
  for (double& v : x) v /= sum;
  return x;
}

double divergence(const Row& student, const Row& teacher, double temperature) {
  const Row p = softmax(teacher, temperature), q = softmax(student, temperature);
  double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) kl += p[i] * std::log(p[i] / q[i]);
  return kl;
}

/// alpha T² KL(teacher ‖ student) + (1 − alpha) CE, as the paper has it.
double formula(const Row& student, const Row& teacher, int32_t target, double t, double alpha) {
  return alpha * t * t * divergence(student, teacher, t) -
         (1 - alpha) * std::log(softmax(student, 1)[target]);
}

TEST(Distillation, LossAndGradientAreThoseOfTheFormula) {
  Rng rng(5);
  for (const auto& [t, alpha] : {std::pair{2.0, 0.7}, {1.0, 1.0}, {4.0, 0.25}, {0.5, 0.0}}) {
    const Row student = random_row(rng, 2), teacher = random_row(rng, 3);
    Matrix x(2, kVocab), z(2, kVocab), losses(2, 2);
    for (int64_t i = 0; i < kVocab; ++i) {
      x.values[i] = x.values[kVocab + i] = static_cast<float>(student[i]);
      z.values[i] = z.values[kVocab + i] = static_cast<float>(teacher[i]);
    }
    const int32_t target = 17;
    float* nll = losses.values.data();
    float* kl = nll + 2;
    distillation_backward(x.view(), {z.view(), float(t), float(alpha)}, std::vector{target, -1},
                          0.5f, nll, kl);
    EXPECT_NEAR(nll[0], -std::log(softmax(student, 1)[target]), 1e-4);
    EXPECT_NEAR(kl[0], divergence(student, teacher, t), 1e-4);
    for (int32_t i : {0, 16, 17, 18, 100, 257}) {
      constexpr double kStep = 1e-4;
      Row up = student, down = student;
      up[i] += kStep, down[i] -= kStep;
      const double slope =
          (formula(up, teacher, target, t, alpha) - formula(down, teacher, target, t, alpha)) /
          (2 * kStep);
      EXPECT_NEAR(x.values[i], 0.5 * slope, 2e-5) << i << ", T " << t;
    }
    EXPECT_EQ(nll[1], 0);  // not scored
    EXPECT_EQ(kl[1], 0);
    for (int64_t i = 0; i < kVocab; ++i) EXPECT_EQ(x.values[kVocab + i], 0);
  }
}

TEST(Distillation, TheModelsGradientMatchesFiniteDifferences) {
  constexpr float kFineWeight = 0.5f, kTemperature = 2, kAlpha = 0.7f;
  const Model model = random_model(tiny_config("adamw").model);
  const std::vector<int32_t> ids = repetitive_ids(32, 1);
  std::vector<int32_t> targets(ids.begin() + 1, ids.end());
  targets.push_back(-1);
  Rng rng(2);
  Matrix teacher(ids.size(), kVocab);
  for (float& v : teacher.values) v = static_cast<float>(2 * rng.normal());

  Activations a(model.config(), ids.size(), Activations::Mode::kTraining);
  a.lay_out(whole_sequences(1, ids.size()));
  a.soft_targets = {teacher.view(), kTemperature, kAlpha};
  ParameterBlock grads(model.config());
  const auto loss = [&] {
    grads.zero();
    const Model::Loss l = model.forward_backward(ids, targets, kFineWeight, a, grads.weights);
    const double soft = kAlpha * kTemperature * kTemperature, hard = 1 - kAlpha;
    return soft * l.kl + hard * l.nats + kFineWeight * (soft * l.fine_kl + hard * l.fine_nats);
  };
  loss();
  const std::vector<float> gradient(grads.memory.floats(), grads.memory.floats() + grads.count);
  // Along the gradient the loss changes by its square: one number that every weight is in.
  double square = 0;
  for (const float g : gradient) square += double(g) * g;
  const double step = 1e-2 / std::sqrt(square);
  const auto moved = [&](double by) {
    for (size_t i = 0; i < gradient.size(); ++i)
      model.data()[i] += static_cast<float>(by * gradient[i]);
    const double value = loss();
    for (size_t i = 0; i < gradient.size(); ++i)
      model.data()[i] -= static_cast<float>(by * gradient[i]);
    return value;
  };
  EXPECT_NEAR((moved(step) - moved(-step)) / (2 * step) / square, 1, 0.01);
}

struct Distilled : testing::Test {
  TempDir dir;
  Corpus corpus = corpus_of(dir, "a.py", sample_text(300));
  std::filesystem::path teacher = trained_teacher("teacher", 7);

  std::filesystem::path trained_teacher(const std::string& name, int64_t seed) {
    Config c = tiny_config("adamw");
    c.train.lr = 5e-3;
    c.train.steps = 60;
    c.train.seed = seed;
    const std::filesystem::path out = run_dir(dir, name);
    Trainer(c, corpus, nullptr).run(out, {});
    return out;
  }
  Config student_config() const {
    Config c = tiny_config("adamw");
    c.model.downsample_factors = {1};
    c.train.precision = "f32";
    c.train.teacher = teacher.string();
    return c;
  }
};

TEST_F(Distilled, ComesNearerToItsTeacher) {
  Config c = student_config();
  c.train.lr = 5e-3;
  c.train.steps = 60;
  std::vector<double> divergence;
  Trainer trainer(c, corpus, nullptr);
  TrainCallbacks call;
  call.on_step = [&](const StepReport& r) { divergence.push_back(r.teacher_kl); };
  trainer.train(call);
  EXPECT_GT(divergence.front(), 0.1);
  EXPECT_LT(divergence.back(), 0.5 * divergence.front());
}

TEST_F(Distilled, WithoutAShareOfTheLossTheTeacherChangesNothing) {
  Config alone = student_config(), ignoring = student_config();
  alone.train.teacher.clear();
  ignoring.train.distill_alpha = 0;
  Trainer a(alone, corpus, nullptr), b(ignoring, corpus, nullptr),
      c(student_config(), corpus, nullptr);
  for (Trainer* t : {&a, &b, &c}) t->train({});
  EXPECT_TRUE(same_weights(a.model(), b.model()));
  EXPECT_FALSE(same_weights(a.model(), c.model()));
}

TEST_F(Distilled, AResumedRunIsTheUndisturbedOne) {
  const std::filesystem::path out = run_dir(dir, "student");
  Trainer undisturbed(student_config(), corpus, nullptr), first(student_config(), corpus, nullptr);
  undisturbed.train({});
  first.run(out, stop_after(first, 3));
  Trainer second(student_config(), corpus, nullptr);
  ASSERT_TRUE(second.resume(out));
  second.run(out, {});
  EXPECT_TRUE(same_weights(second.model(), undisturbed.model()));
}

TEST_F(Distilled, AResumedRunWantsItsOwnTeacher) {
  const std::filesystem::path out = run_dir(dir, "student");
  Trainer first(student_config(), corpus, nullptr);
  first.run(out, stop_after(first, 3));
  Config other = student_config(), none = student_config();
  other.train.teacher = trained_teacher("other", 8).string();
  none.train.teacher.clear();
  for (const Config& c : {other, none}) {
    Trainer trainer(c, corpus, nullptr);
    EXPECT_HOLDS(message_of<Error>([&] { trainer.resume(out); }), "another teacher");
  }
}

TEST_F(Distilled, ATeacherThatReadsShorterWindowsIsRefused) {
  Config c = student_config();
  c.model.max_seq_len = 64;
  EXPECT_HOLDS(message_of<UsageError>([&] { Trainer(c, corpus, nullptr); }),
               "set model.max_seq_len to at most 32");
}

}  // namespace
}  // namespace axl
