#include "axl/nn/scales.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "axl/kernels/fusion.h"
#include "axl/kernels/row_blocks.h"

namespace axl {
namespace {

using Pointers = std::array<const float*, kMaxScales>;

// What scale `view` shows at byte i of a sequence; nullptr before its first token has ended.
const float* view_of_byte(const ScaleView& view, int64_t sequence, const Segment& bytes, int64_t i,
                          int64_t d) {
  if (view.factor == 1) return view.rows.row(bytes.row + i - bytes.begin);
  const int64_t slot = i + 1 - view.factor;  // among all slots of the sequence
  if (slot < 0) return nullptr;
  const Segment& tokens = (*view.tokens)[sequence];
  const int64_t token = slot / view.factor, offset = slot % view.factor * d;
  return token >= tokens.begin ? view.rows.row(tokens.row + token - tokens.begin) + offset
                               : view.history[sequence].row(token) + offset;
}

Pointers views_of_byte(std::span<const ScaleView> views, int64_t sequence, const Segment& bytes,
                       int64_t i, int64_t d) {
  Pointers pointers{};
  for (size_t s = 0; s < views.size(); ++s)
    pointers[s] = view_of_byte(views[s], sequence, bytes, i, d);
  return pointers;
}

}  // namespace

void gather_groups(ConstMat x, const Segments& bytes, const Segments& tokens, int64_t factor,
                   std::span<const Mat> history, Mat groups) {
  const int64_t d = x.cols;
  parallel_for(static_cast<int64_t>(bytes.size()), [&](int64_t b) {
    const Segment &from = bytes[b], &to = tokens[b];
    for (int64_t j = 0; j < to.count; ++j) {
      for (int64_t slot = 0; slot < factor; ++slot) {
        const int64_t byte = (to.begin + j) * factor + slot;
        const float* row =
            byte >= from.begin ? x.row(from.row + byte - from.begin) : history[b].row(byte);
        std::memcpy(groups.row(to.row + j) + slot * d, row, sizeof(float) * d);
      }
    }
  });
}

void scatter_groups(ConstMat d_groups, const Segments& bytes, const Segments& tokens,
                    int64_t factor, Mat dx) {
  parallel_for(static_cast<int64_t>(bytes.size()), [&](int64_t b) {
    const Segment &to = bytes[b], &from = tokens[b];
    for (int64_t j = 0; j < from.count; ++j) {
      float* out = dx.row(to.row + j * factor);  // the group's rows are adjacent
      const float* in = d_groups.row(from.row + j);
      for (int64_t i = 0; i < d_groups.cols; ++i) out[i] += in[i];
    }
  });
}

void Fusion::forward(std::span<const ScaleView> views, const Segments& bytes, float eps,
                     const Saved& saved, Mat fused) const {
  const int64_t scales = views.size();
  for (size_t b = 0; b < bytes.size(); ++b) {
    const Segment& s = bytes[b];
    for_row_blocks(s.count, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Pointers u = views_of_byte(views, b, s, s.begin + i, fused.cols);
        const int64_t row = s.row + i;
        if (gated())
          fuse_row(u.data(), scales, weight, eps, saved.alpha.row(row), saved.rstd.row(row),
                   fused.row(row));
        else
          sum_row(u.data(), scales, fused.cols, saved.alpha.row(row), fused.row(row));
      }
    });
  }
}

void Fusion::backward(std::span<const ScaleView> views, const Segments& bytes, const Saved& saved,
                      ConstMat d_fused, std::span<const Mat> d_views, const Fusion& grad,
                      const Scratch& scratch) const {
  const int64_t scales = views.size(), d = d_fused.cols;
  std::array<ScaleView, kMaxScales> d_as_views;  // the same places, in the gradients
  for (int64_t s = 0; s < scales; ++s) {
    if (views[s].factor > 1) fill(d_views[s], 0.0f);  // the last slots are read by no byte
    d_as_views[s] = {views[s].factor, d_views[s], views[s].tokens, {}};
  }
  const Mat partials(scratch.partials.data, kPartials, weight.size());
  for (size_t b = 0; b < bytes.size(); ++b) {
    const Segment& s = bytes[b];
    for_row_blocks(s.count, [&](int64_t block, int64_t begin, int64_t end) {
      const Mat d_weight(partials.row(block), weight.rows, weight.cols);
      std::fill_n(d_weight.data, d_weight.size(), 0.0f);
      for (int64_t i = begin; i < end; ++i) {
        const Pointers u = views_of_byte(views, b, s, i, d);
        const Pointers du =
            views_of_byte({d_as_views.data(), static_cast<size_t>(scales)}, b, s, i, d);
        std::array<float*, kMaxScales> d_u{};
        std::transform(du.begin(), du.end(), d_u.begin(),
                       [](const float* p) { return const_cast<float*>(p); });
        const int64_t row = s.row + i;
        if (!gated()) {
          for (int64_t k = 0; k < scales; ++k)
            if (d_u[k]) std::copy_n(d_fused.row(row), d, d_u[k]);
          continue;
        }
        fuse_row_backward(u.data(), scales, weight, saved.alpha.row(row), saved.rstd.row(row),
                          d_fused.row(row), d_u.data(), d_weight);
      }
    });
    if (gated()) add_partials(s.count, partials, grad.weight.reshaped(1, weight.size()));
  }
}

}  // namespace axl
