#include "axl/kernels/attention.h"
#include "axl/base/parallel.h"
#include "axl/nn/layers.h"

namespace axl {
namespace {

// Rows whose rotation is worth waking other threads for, once for all sequences.
constexpr int64_t kMinParallelRows = 256;

// The rows of one sequence.
void rotate_segment(const AttentionPlan& plan, const Segment& s, int64_t factor, bool inverse,
                    Mat x) {
  const int64_t step = plan.byte_positions ? factor : 1;
  const int64_t first = plan.byte_positions ? factor * (s.begin + 1) - 1 : s.begin;
  rope(x.row_range(s.row, s.count), *plan.rope, first, step, inverse);
}

void rotate_rows(const AttentionPlan& plan, const Segments& segments, int64_t factor, bool inverse,
                 Mat x) {
  const auto rotate = [&](int64_t i) { rotate_segment(plan, segments[i], factor, inverse, x); };
  const auto sequences = static_cast<int64_t>(segments.size());
  if (sequences >= num_threads() && x.rows >= kMinParallelRows)
    return parallel_for(sequences, rotate);
  for (int64_t i = 0; i < sequences; ++i) rotate(i);  // each on all threads, if it is long
}

AttentionHeads heads_of(const AttentionPlan& plan, const Segment& queries, Precision precision) {
  return {plan.heads, queries.begin, plan.query_factor, plan.key_factor, plan.window, precision};
}

/// Keys and values of one head.
struct HeadKeys {
  ConstMat k, v;
};

// Of one sequence: columns of its rows of kv, or its cache (see Attention::attend).
HeadKeys keys_of_head(const AttentionPlan& plan, int64_t sequence, int64_t head, ConstMat kv,
                      std::span<const Mat> cache) {
  const Segment& s = (*plan.keys)[sequence];
  if (cache.empty()) {
    const ConstMat rows = kv.row_range(s.row, s.count);
    const int64_t size = kv.cols / 2 / plan.heads;
    return {rows.col_range(head * size, size), rows.col_range(kv.cols / 2 + head * size, size)};
  }
  const Mat& of = cache[sequence];
  const int64_t capacity = of.rows / (2 * plan.heads);
  return {of.row_range(head * capacity, s.end()),
          of.row_range((plan.heads + head) * capacity, s.end())};
}

// The new rows of one head's keys, or of its values, behind those that its cache has.
void append_part(const Segment& s, int64_t part, int64_t parts, ConstMat kv, Mat to) {
  const int64_t capacity = to.rows / parts;
  copy(kv.row_range(s.row, s.count).col_range(part * to.cols, to.cols),
       to.row_range(part * capacity + s.begin, s.count));
}

void append_to_cache(const AttentionPlan& plan, ConstMat kv, std::span<const Mat> cache) {
  const int64_t parts = 2 * plan.heads;  // keys of each head, values of each
  parallel_for(static_cast<int64_t>(cache.size()) * parts, [&](int64_t i) {
    append_part((*plan.keys)[i / parts], i % parts, parts, kv, cache[i / parts]);
  });
}

// Multiply-adds that are worth waking other threads for.
constexpr int64_t kMinParallelWork = 1 << 12;

int64_t longest(const Segments& segments) {
  int64_t n = 0;
  for (const Segment& s : segments) n = std::max(n, s.count);
  return n;
}

}  // namespace

void Attention::rotate(const AttentionPlan& plan, Mat q, Mat k, bool inverse) {
  rotate_rows(plan, *plan.queries, plan.query_factor, inverse, q);
  rotate_rows(plan, *plan.keys, plan.key_factor, inverse, k);
}

void Attention::attend(const AttentionPlan& plan, ConstMat q, ConstMat kv,
                       std::span<const Mat> cache, Mat out, Mat lse, const Scratch& scratch) {
  append_to_cache(plan, kv, cache);
  const int64_t sequences = plan.queries->size(), d = q.cols;
  const int64_t blocks = (longest(*plan.queries) + kQueryBlock - 1) / kQueryBlock;
  const auto attend_block = [&](int64_t task) {
    const int64_t block = task % blocks, head = task / blocks % plan.heads;
    const int64_t sequence = task / blocks / plan.heads;
    const Segment& s = (*plan.queries)[sequence];
    if (block * kQueryBlock >= s.count) return;
    const HeadKeys keys = keys_of_head(plan, sequence, head, kv, cache);
    attention_head(heads_of(plan, s, scratch.precision), head, block, q.row_range(s.row, s.count),
                   keys.k, keys.v, out.row_range(s.row, s.count), lse.row_range(s.row, s.count),
                   scratch.attention.row(thread_index()));
  };
  const int64_t tasks = sequences * plan.heads * blocks;
  const int64_t work = tasks == 0 ? 0 : q.rows * plan.keys->front().end() * d;
  if (work >= kMinParallelWork) return parallel_for_dynamic(tasks, attend_block);
  for (int64_t task = 0; task < tasks; ++task) attend_block(task);
}

namespace {

void attend_head(const Attention::Job& job, int64_t sequence, int64_t head,
                 const Scratch& scratch) {
  const AttentionPlan& plan = *job.plan;
  const Segment &s = (*plan.queries)[sequence], &t = (*plan.keys)[sequence];
  const int64_t size = job.q.cols / plan.heads, parts = 2 * plan.heads;
  rotate_segment(plan, s, plan.query_factor, false, job.q.col_range(head * size, size));
  rotate_segment(plan, t, plan.key_factor, false, job.kv.col_range(head * size, size));
  append_part(t, head, parts, job.kv, job.cache[sequence]);
  append_part(t, plan.heads + head, parts, job.kv, job.cache[sequence]);
  const HeadKeys keys = keys_of_head(plan, sequence, head, job.kv, job.cache);
  for (int64_t block = 0; block * kQueryBlock < s.count; ++block)
    attention_head(heads_of(plan, s, scratch.precision), head, block,
                   job.q.row_range(s.row, s.count), keys.k, keys.v,
                   job.out.row_range(s.row, s.count), job.lse.row_range(s.row, s.count),
                   scratch.attention.row(thread_index()));
}

int64_t work_of(const Attention::Job& job) {
  return job.q.rows * job.plan->keys->front().end() * job.q.cols;
}

}  // namespace

void Attention::attend_together(int64_t count, const void* of,
                                Job (*job)(const void* of, int64_t i), const Scratch& scratch) {
  int64_t tasks = 0, work = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Job j = job(of, i);
    tasks = j.plan->heads * static_cast<int64_t>(j.cache.size());
    work += work_of(j);
  }
  const auto attend = [count, of, job, scratch = &scratch](int64_t task) {
    for (int64_t i = 0; i < count; ++i) {
      const Job j = job(of, i);
      const auto sequences = static_cast<int64_t>(j.cache.size());
      attend_head(j, task % sequences, task / sequences, *scratch);
    }
  };
  static_assert(detail::kIsSmall<decltype(attend)>);
  if (work >= kMinParallelWork) return parallel_for(tasks, attend);
  for (int64_t task = 0; task < tasks; ++task) attend(task);
}

void Attention::attend_backward(const AttentionPlan& plan, ConstMat q, ConstMat kv, ConstMat lse,
                                ConstMat d_out, Mat dq, Mat dkv, const Scratch& scratch) {
  const int64_t sequences = plan.queries->size(), d = q.cols;
  parallel_for_dynamic(sequences * plan.heads, [&](int64_t task) {
    const int64_t sequence = task / plan.heads, head = task % plan.heads;
    const Segment &s = (*plan.queries)[sequence], &t = (*plan.keys)[sequence];
    const ConstMat keys = kv.row_range(t.row, t.count);
    const Mat d_keys = dkv.row_range(t.row, t.count);
    attention_head_backward(heads_of(plan, s, scratch.precision), head, q.row_range(s.row, s.count),
                            keys.col_range(0, d), keys.col_range(d, d),
                            lse.row_range(s.row, s.count), d_out.row_range(s.row, s.count),
                            dq.row_range(s.row, s.count), d_keys.col_range(0, d),
                            d_keys.col_range(d, d), scratch.attention.row(thread_index()));
  });
}

}  // namespace axl
