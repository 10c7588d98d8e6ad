#include "axl/model/model.h"

#include <algorithm>
#include <vector>

#include "widened.h"

namespace axl {

/// Where gradients go, and who is told.
struct Model::Gradients {
  const Weights& weights;
  BackwardObserver* observer;

  /// Runs body(), which completes the gradients of `part`.
  template <class Body>
  void complete(ParameterRange part, const Body& body) const {
    if (observer) observer->begin(part);
    body();
    if (observer) observer->finish(part);
  }
};

Model::Loss Model::forward_backward(std::span<const int32_t> ids, std::span<const int32_t> targets,
                                    float fine_weight, Activations& a, const Weights& grads,
                                    BackwardObserver* observer) const {
  Loss loss;
  loss.scored = std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; });
  const float scale = loss.scored ? 1.0f / static_cast<float>(loss.scored) : 0.0f;

  forward(ids, a);
  const Gradients gradients{grads, observer};
  gradients.complete(range_of_head(weights_), [&] {
    const HeadLoss fused = head_backward(a.fused, true, targets, scale, a, a.d_fused, grads);
    loss.nats = fused.nats, loss.kl = fused.kl;
    if (fine_weight == 0) return;
    const HeadLoss fine =
        head_backward(a.states[0][0], false, targets, fine_weight * scale, a, a.d_fine, grads);
    loss.fine_nats = fine.nats, loss.fine_kl = fine.kl;
  });
  backward(ids, fine_weight != 0, a, gradients);
  return loss;
}

// Logits, loss and the way back in one go: the logits' gradient takes their place.
Model::HeadLoss Model::head_backward(ConstMat h, bool votes, std::span<const int32_t> targets,
                                     float scale, Activations& a, Mat dh,
                                     const Weights& grads) const {
  const int64_t rows = a.rows(0);
  const Mat normed = a.scratch.normed.row_range(0, rows);
  const Mat d_normed = a.scratch.d_normed.row_range(0, rows);
  const Mat logits = a.logits.row_range(0, rows), dh_rows = dh.row_range(0, rows);
  head(h, a);
  if (votes) add_votes(a);
  const bool taught = a.soft_targets.logits.data != nullptr;
  if (taught)
    distillation_backward(logits, a.soft_targets, targets, scale, a.nll.data, a.kl.data);
  else
    cross_entropy_backward(logits, targets, scale, a.nll.data);
  if (votes) votes_backward(a, grads);

  widened(weights_.output, a)
      .backward(normed, logits, d_normed, Write::kAssign, grads.output, a.scratch.precision);
  fill(dh_rows, 0.0f);
  weights_.out_norm.backward(h.row_range(0, rows), a.head_rstd.data, d_normed, dh_rows,
                             grads.out_norm, a.scratch);
  HeadLoss loss;
  int64_t scored = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (targets[r] < 0) continue;
    ++scored;
    loss.nats += a.nll.data[r];
    if (taught) loss.kl += a.kl.data[r];
  }
  if (scored) loss.nats /= scored, loss.kl /= scored;
  return loss;
}

void Model::backward(std::span<const int32_t> ids, bool fine, Activations& a,
                     const Gradients& grads) const {
  fuse_backward(a, grads);
  for (int64_t layer = weights_.cross.size(); layer-- > 0;) cross_backward(layer, a, grads);
  if (fine) add(a.d_fine.row_range(0, a.rows(0)), a.d_states[0].row_range(0, a.rows(0)));
  for (int64_t s = 0; s < config_.n_scales(); ++s) stack_backward(s, a, grads);
  embed_backward(ids, a, grads);
}

void Model::fuse_backward(Activations& a, const Gradients& grads) const {
  const Mat d_fused = a.d_fused.row_range(0, a.rows(0));
  const Mat d_fine_states = a.d_states[0].row_range(0, a.rows(0));
  if (config_.n_scales() == 1) return copy(d_fused, d_fine_states);

  std::vector<Mat> d_views{d_fine_states};
  for (int64_t s = 1; s < config_.n_scales(); ++s)
    d_views.push_back(a.d_wide[s].row_range(0, a.rows(s)));
  const auto gate_backward = [&] {
    weights_.gate.backward(scale_views(a, nullptr), a.bytes, a.fusion, d_fused, d_views,
                           grads.weights.gate, a.scratch);
  };
  if (weights_.gate.gated())
    grads.complete(range_of(Linear{weights_.gate.weight}), gate_backward);
  else
    gate_backward();
  for (int64_t s = 1; s < config_.n_scales(); ++s) {
    const int64_t rows = a.rows(s);
    const Linear up = widened(weights_.scales[s].up, a);
    grads.complete(range_of(up), [&] {
      up.backward(a.states.back()[s].row_range(0, rows), d_views[s],
                  a.d_states[s].row_range(0, rows), Write::kAssign, grads.weights.scales[s].up,
                  a.scratch.precision);
    });
  }
}

void Model::cross_backward(int64_t layer, Activations& a, const Gradients& grads) const {
  const auto rows_of = [&](const std::vector<Mat>& m, int64_t s) {
    return m[s].row_range(0, a.rows(s));
  };
  for (int64_t s = 0; s < config_.n_scales(); ++s)
    copy(rows_of(a.d_states, s), rows_of(a.d_before, s));  // the residual path
  for (size_t i = 0; i < weights_.cross[layer].size(); ++i) {
    const Weights::Pair& p = weights_.cross[layer][i];
    if (a.rows(p.target) == 0) continue;
    const CrossBlock::Saved& all = a.cross[layer][i];
    CrossBlock::Saved saved = all.first_rows(a.rows(p.target), a.rows(p.source));
    saved.x = all.x.row_range(0, a.rows(p.target));
    saved.source = all.source.row_range(0, a.rows(p.source));
    const AttentionPlan plan = cross_plan(p, a.segments, a);
    const CrossBlock block = widened(p.block, a);
    if (a.recompute())
      block.recompute(plan, static_cast<float>(config_.norm_eps), saved, a.scratch);
    grads.complete(range_of(p.block), [&] {
      block.backward(plan, saved, rows_of(a.d_states, p.target), rows_of(a.d_before, p.target),
                     rows_of(a.d_before, p.source), grads.weights.cross[layer][i].block, a.scratch);
    });
  }
  std::swap(a.d_states, a.d_before);
}

void Model::stack_backward(int64_t scale, Activations& a, const Gradients& grads) const {
  const int64_t rows = a.rows(scale);
  if (rows == 0) return;
  const AttentionPlan plan = stack_plan(scale, a);
  const std::vector<Block>& stack = weights_.scales[scale].stack;
  for (int64_t i = stack.size(); i-- > 0;) {
    const Block::Saved saved = a.blocks[scale][i].first_rows(rows);
    const Block block = widened(stack[i], a);
    if (a.recompute())
      block.recompute(plan, static_cast<float>(config_.norm_eps), saved, a.scratch);
    grads.complete(range_of(stack[i]), [&] {
      block.backward(plan, saved, a.d_states[scale].row_range(0, rows),
                     grads.weights.scales[scale].stack[i], a.scratch);
    });
  }
}

void Model::embed_backward(std::span<const int32_t> ids, Activations& a,
                           const Gradients& grads) const {
  const Mat dx = a.d_states[0].row_range(0, a.rows(0));
  for (int64_t s = 1; s < config_.n_scales(); ++s) {
    const int64_t rows = a.rows(s);
    if (rows == 0) continue;
    const Mat groups = a.groups[s].row_range(0, rows), d_groups = a.d_wide[s].row_range(0, rows);
    if (a.recompute())
      gather_groups(a.blocks[0][0].x, a.bytes, a.segments[s], weights_.scales[s].factor, {},
                    groups);
    const Linear down = widened(weights_.scales[s].down, a);
    grads.complete(range_of(down), [&] {
      down.backward(groups, a.d_states[s].row_range(0, rows), d_groups, Write::kAssign,
                    grads.weights.scales[s].down, a.scratch.precision);
    });
    scatter_groups(d_groups, a.bytes, a.segments[s], weights_.scales[s].factor, dx);
  }
  grads.complete(range_of(Linear{weights_.tok_embd}),
                 [&] { scatter_add_rows(dx, ids, grads.weights.tok_embd); });
}

}  // namespace axl
