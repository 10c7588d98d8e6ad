#include "axl/train/optimizer.h"

#include <cmath>

#include "axl/base/format.h"
#include "axl/base/text.h"
#include "muon.h"
#include "update_chunks.h"

namespace axl {
namespace {

constexpr auto kAll = [](const Parameter&) { return true; };

/// What Lion and SGD share: one moment per weight.
class OneMoment : public Optimizer {
 public:
  OneMoment(const OptimizerOptions& options, std::span<const Parameter> table)
      : options_(options),
        chunks_(update_chunks(options, table, kAll)),
        moment_(sizeof(float) * parameter_count(table)) {}

  std::vector<OptimizerState> state() override {
    return {{"moment", moment_.floats(), static_cast<int64_t>(moment_.bytes() / sizeof(float))}};
  }

 protected:
  OptimizerOptions options_;
  std::vector<UpdateChunk> chunks_;
  Buffer moment_;
};

/// arXiv:2302.06675: w ← keep·w − lr·sign(β1·m + (1−β1)·g), m ← β2·m + (1−β2)·g.
class Lion : public OneMoment {
 public:
  using OneMoment::OneMoment;

  void update(float* w, const float* g, double lr, double gradient_scale, int64_t) override {
    const float b1 = options_.beta1, b2 = options_.beta2, rate = lr, scale = gradient_scale;
    float* m = moment_.floats();
    for_each_element(chunks_, lr, options_.weight_decay, [=](int64_t i, float keep) {
      const float gi = scale * g[i], c = b1 * m[i] + (1 - b1) * gi;
      const float sign = static_cast<float>((c > 0) - (c < 0));
      w[i] = w[i] * keep - rate * sign;
      m[i] = b2 * m[i] + (1 - b2) * gi;
    });
  }
};

/// Heavy-ball momentum: m ← μ·m + g, w ← keep·w − lr·m.
class Sgd : public OneMoment {
 public:
  using OneMoment::OneMoment;

  void update(float* w, const float* g, double lr, double gradient_scale, int64_t) override {
    const float mu = options_.momentum, rate = lr, scale = gradient_scale;
    float* m = moment_.floats();
    for_each_element(chunks_, lr, options_.weight_decay, [=](int64_t i, float keep) {
      m[i] = mu * m[i] + scale * g[i];
      w[i] = w[i] * keep - rate * m[i];
    });
  }
};

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, std::span<const Parameter> table)
      : adam_(options, table, kAll) {}
  void update(float* w, const float* g, double lr, double gradient_scale, int64_t step) override {
    adam_.update(w, g, lr, gradient_scale, step);
  }
  std::vector<OptimizerState> state() override { return adam_.state(); }

 private:
  AdamMoments adam_;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const std::vector<Parameter>& all) {
  const std::span<const Parameter> table = dense_part(all);
  if (options.name == "lion") return std::make_unique<Lion>(options, table);
  if (options.name == "adamw") return std::make_unique<AdamW>(options, table);
  if (options.name == "sgd") return std::make_unique<Sgd>(options, table);
  if (options.name == "muon") return std::make_unique<Muon>(options, table);
  throw UsageError(format("unknown optimizer '{}'{}", options.name,
                          did_you_mean(options.name, {"lion", "adamw", "sgd", "muon"})));
}

int64_t optimizer_floats(const std::string& name, std::span<const Parameter> table) {
  const int64_t all = parameter_count(table);
  if (name == "adamw") return 2 * all;
  if (name != "muon") return all;
  int64_t floats = 0;
  for (const Parameter& p : table) floats += is_muon_matrix(p) ? p.size() : 2 * p.size();
  return floats;
}

}  // namespace axl
