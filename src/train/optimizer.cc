#include "axl/train/optimizer.h"

#include <cmath>

#include "axl/base/format.h"
#include "axl/base/text.h"
#include "muon.h"
#include "update_chunks.h"

namespace axl {
namespace {

constexpr auto kAll = [](const Parameter&) { return true; };

/// What Lion and SGD share: one moment per weight. The loops are for the CPU of the build, unlike
/// the row kernels: reading and writing the weights is what takes the time.
class OneMoment : public Optimizer {
 public:
  OneMoment(const OptimizerOptions& options, std::span<const Parameter> table)
      : Optimizer(table),
        options_(options),
        chunks_(options, table, kAll),
        moment_(sizeof(float) * parameter_count(table)) {}

  std::vector<OptimizerState> state() override {
    return {{"moment", moment_.floats(), static_cast<int64_t>(moment_.bytes() / sizeof(float))}};
  }

 protected:
  /// rule(w, m, g, keep) for every element of the part.
  template <class Rule>
  void for_each_element(const UpdatePart& part, double lr, const Rule& rule) {
    chunks_.for_each(part, table_, lr * options_.weight_decay,
                     [&](const UpdateChunk& chunk, int64_t, const float* g, float keep) {
                       float* w = part.values[chunk.parameter].f32 + chunk.begin;
                       float* m = moment_.floats() + chunk.offset;
#pragma omp simd
                       for (int64_t i = 0; i < chunk.count; ++i) rule(w[i], m[i], g[i], keep);
                     });
  }

  OptimizerOptions options_;
  UpdateChunks chunks_;
  Buffer moment_;
};

/// arXiv:2302.06675: w ← keep·w − lr·sign(β1·m + (1−β1)·g), m ← β2·m + (1−β2)·g.
class Lion : public OneMoment {
 public:
  using OneMoment::OneMoment;

  void update(const UpdatePart& part, const UpdateRate& rate) override {
    const float b1 = options_.beta1, b2 = options_.beta2, lr = rate.lr, scale = rate.gradient_scale;
    for_each_element(part, rate.lr, [=](float& w, float& m, float g, float keep) {
      const float gi = scale * g, c = b1 * m + (1 - b1) * gi;
      const float sign = static_cast<float>((c > 0) - (c < 0));
      w = w * keep - lr * sign;
      m = b2 * m + (1 - b2) * gi;
    });
  }
};

/// Heavy-ball momentum: m ← μ·m + g, w ← keep·w − lr·m.
class Sgd : public OneMoment {
 public:
  using OneMoment::OneMoment;

  void update(const UpdatePart& part, const UpdateRate& rate) override {
    const float mu = options_.momentum, lr = rate.lr, scale = rate.gradient_scale;
    for_each_element(part, rate.lr, [=](float& w, float& m, float g, float keep) {
      m = mu * m + scale * g;
      w = w * keep - lr * m;
    });
  }
};

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, std::span<const Parameter> table)
      : Optimizer(table), adam_(options, table, kAll) {}
  void update(const UpdatePart& part, const UpdateRate& rate) override { adam_.update(part, rate); }
  std::vector<OptimizerState> state() override { return adam_.state(); }

 private:
  AdamMoments adam_;
};

}  // namespace

void Optimizer::update_all(float* weights, const float* gradients, const UpdateRate& rate) {
  std::vector<ParameterValues> values;
  for (const Parameter& p : table_) values.push_back({weights + p.offset});
  update({{0, static_cast<int64_t>(table_.size())}, values, gradients}, rate);
}

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
