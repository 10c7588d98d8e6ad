#include "axl/train/optimizer.h"

#include <cmath>

#include "axl/base/format.h"
#include "axl/base/rng.h"
#include "axl/base/text.h"
#include "axl/tensor/half.h"
#include "muon.h"
#include "update_chunks.h"

namespace axl {
namespace {

constexpr auto kAll = [](const Parameter&) { return true; };

/// Numbers in memory, read and written as f32.
struct F32Values {
  float* data;
  float get(int64_t i) const { return data[i]; }
  void set(int64_t i, float x, uint32_t) const { data[i] = x; }
};
struct Bf16Values {
  uint16_t* data;
  float get(int64_t i) const { return from_bf16(data[i]); }
  void set(int64_t i, float x, uint32_t noise) const { data[i] = to_bf16(x, noise); }
};

/// 32 bits that depend on the key and i alone (a mixer of C. Wellons's, with half of the key
/// between its rounds).
inline uint32_t noise_of(uint64_t key, uint32_t i) {
  uint32_t x = i + static_cast<uint32_t>(key);
  x = (x ^ (x >> 16)) * 0x21F0AAAD;
  x ^= static_cast<uint32_t>(key >> 32);
  x = (x ^ (x >> 15)) * 0x735A2D97;
  return x ^ (x >> 15);
}

/// What Lion and SGD share: one moment per weight. The loops are for the CPU of the build, unlike
/// the row kernels: reading and writing the weights is what takes the time.
class OneMoment : public Optimizer {
 public:
  OneMoment(const OptimizerOptions& options, std::span<const Parameter> table)
      : Optimizer(table),
        options_(options),
        chunks_(options, table, kAll),
        moment_(optimizer_bytes(options.name, options.bf16_momentum, table)) {}

  std::vector<OptimizerState> state() override {
    const int64_t count = parameter_count(table_);
    if (options_.bf16_momentum) return {{"moment", nullptr, count, halves()}};
    return {{"moment", moment_.floats(), count}};
  }

 protected:
  /// rule(w, m, g, keep) for every element of the part.
  template <class Rule>
  void for_each_element(const UpdatePart& part, const UpdateRate& rate, const Rule& rule) {
    const uint64_t step_key = mix64(mix64(options_.seed) + static_cast<uint64_t>(rate.step));
    chunks_.for_each(part, table_, rate.lr * options_.weight_decay,
                     [&](const UpdateChunk& chunk, int64_t, const float* g, float keep) {
                       const uint64_t key = mix64(step_key + static_cast<uint64_t>(chunk.offset));
                       const auto run = [&](auto w, auto m) {
#pragma omp simd
                         for (int64_t i = 0; i < chunk.count; ++i) {
                           float wi = w.get(i), mi = m.get(i);
                           rule(wi, mi, g[i], keep);
                           const uint32_t noise = noise_of(key, static_cast<uint32_t>(i));
                           w.set(i, wi, noise & 0xFFFF);
                           m.set(i, mi, noise >> 16);
                         }
                       };
                       const auto with_moment = [&](auto w) {
                         if (options_.bf16_momentum)
                           return run(w, Bf16Values{halves() + chunk.offset});
                         run(w, F32Values{moment_.floats() + chunk.offset});
                       };
                       const ParameterValues& values = part.values[chunk.parameter];
                       if (values.bf16) return with_moment(Bf16Values{values.bf16 + chunk.begin});
                       with_moment(F32Values{values.f32 + chunk.begin});
                     });
  }

  OptimizerOptions options_;

 private:
  uint16_t* halves() const { return static_cast<uint16_t*>(moment_.data()); }

  UpdateChunks chunks_;
  Buffer moment_;
};

/// arXiv:2302.06675: w ← keep·w − lr·sign(β1·m + (1−β1)·g), m ← β2·m + (1−β2)·g.
class Lion : public OneMoment {
 public:
  using OneMoment::OneMoment;

  void update(const UpdatePart& part, const UpdateRate& rate) override {
    const float b1 = options_.beta1, b2 = options_.beta2, lr = rate.lr, scale = rate.gradient_scale;
    for_each_element(part, rate, [=](float& w, float& m, float g, float keep) {
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
    for_each_element(part, rate, [=](float& w, float& m, float g, float keep) {
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
  for (const Parameter& p : table_) values.push_back({weights + p.offset, nullptr});
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

int64_t optimizer_bytes(const std::string& name, bool bf16_momentum,
                        std::span<const Parameter> table) {
  const int64_t all = parameter_count(table), floats = sizeof(float) * all;
  if (name == "adamw") return 2 * floats;
  if (name != "muon") return bf16_momentum ? floats / 2 : floats;
  int64_t bytes = 0;
  for (const Parameter& p : table) bytes += sizeof(float) * p.size() * (is_muon_matrix(p) ? 1 : 2);
  return bytes;
}

}  // namespace axl
