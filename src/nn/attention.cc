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

// rotate(i) for each sequence; together they have `rows` rows.
template <class Rotate>
void for_each_sequence(int64_t sequences, int64_t rows, const Rotate& rotate) {
  if (sequences >= num_threads() && rows >= kMinParallelRows)
    return parallel_for(sequences, rotate);
  for (int64_t i = 0; i < sequences; ++i) rotate(i);  // each on all threads, if it is long
}

AttentionHeads heads_of(const AttentionPlan& plan, const Segment& queries, Precision precision) {
  return {plan.heads, queries.begin, plan.query_factor, plan.key_factor, plan.window, precision};
}

/// body(rows) for the matrix that a cache has its rows in.
template <class Body>
void with_rows(const KeyValues& cache, const Body& body) {
  if (cache.i8.scales) return body(cache.i8);
  body(cache.f32);
}

// The new rows of one head's keys, or of its values, behind those that its cache has.
void append_part(const Segment& s, int64_t part, int64_t parts, ConstMat kv,
                 const KeyValues& cache) {
  with_rows(cache, [&](auto rows) {
    const int64_t capacity = rows.rows / parts;
    copy(kv.row_range(s.row, s.count).col_range(part * rows.cols, rows.cols),
         rows.row_range(part * capacity + s.begin, s.count));
  });
}

// A block of one sequence's queries, one head of them, with the keys and values in its rows of kv.
void attend_block(const AttentionPlan& plan, int64_t sequence, int64_t head, int64_t block,
                  ConstMat q, ConstMat kv, Mat out, Mat lse, const Scratch& scratch) {
  const Segment s = plan.query(sequence), t = plan.key(sequence);
  const ConstMat rows = kv.row_range(t.row, t.count);
  const int64_t d = kv.cols / 2, size = d / plan.heads;
  attention_head(heads_of(plan, s, scratch.precision), head, block, q.row_range(s.row, s.count),
                 rows.col_range(head * size, size), rows.col_range(d + head * size, size),
                 out.row_range(s.row, s.count), lse.row_range(s.row, s.count),
                 scratch.attention.row(thread_index()));
}

// The same with those that its cache has.
void attend_block(const AttentionPlan& plan, int64_t sequence, int64_t head, int64_t block,
                  ConstMat q, const KeyValues& cache, Mat out, Mat lse, const Scratch& scratch) {
  const Segment s = plan.query(sequence), t = plan.key(sequence);
  with_rows(cache, [&](auto rows) {
    const int64_t capacity = rows.rows / (2 * plan.heads);
    continue_attention_head(heads_of(plan, s, scratch.precision), head, block,
                            q.row_range(s.row, s.count), rows.row_range(head * capacity, t.end()),
                            rows.row_range((plan.heads + head) * capacity, t.end()),
                            out.row_range(s.row, s.count), lse.row_range(s.row, s.count),
                            scratch.attention.row(thread_index()));
  });
}

// Multiply-adds that are worth waking other threads for.
constexpr int64_t kMinParallelWork = 1 << 12;

}  // namespace

void Attention::rotate_queries(const AttentionPlan& plan, Mat q, bool inverse) {
  for_each_sequence(plan.sequences(), q.rows, [&](int64_t i) {
    rotate_segment(plan, plan.query(i), plan.query_factor, inverse, q);
  });
}
void Attention::rotate_keys(const AttentionPlan& plan, Mat k, bool inverse) {
  for_each_sequence(plan.sequences(), k.rows, [&](int64_t i) {
    rotate_segment(plan, plan.key(i), plan.key_factor, inverse, k);
  });
}

void Attention::append(const AttentionPlan& plan, ConstMat kv, std::span<const KeyValues> cache) {
  const int64_t parts = 2 * plan.heads;  // keys of each head, values of each
  parallel_for(static_cast<int64_t>(cache.size()) * parts, [&](int64_t i) {
    append_part(plan.key(i / parts), i % parts, parts, kv, cache[i / parts]);
  });
}

void Attention::attend(const AttentionPlan& plan, ConstMat q, ConstMat kv,
                       std::span<const KeyValues> cache, Mat out, Mat lse, const Scratch& scratch) {
  const int64_t sequences = plan.sequences(), d = q.cols;
  int64_t longest = 0;
  for (int64_t i = 0; i < sequences; ++i) longest = std::max(longest, plan.query(i).count);
  const int64_t blocks = (longest + kQueryBlock - 1) / kQueryBlock;
  const auto attend_task = [&](int64_t task) {
    const int64_t block = task % blocks, head = task / blocks % plan.heads;
    const int64_t sequence = task / blocks / plan.heads;
    if (block * kQueryBlock >= plan.query(sequence).count) return;
    if (cache.empty())
      attend_block(plan, sequence, head, block, q, kv, out, lse, scratch);
    else
      attend_block(plan, sequence, head, block, q, cache[sequence], out, lse, scratch);
  };
  const int64_t tasks = sequences * plan.heads * blocks;
  const int64_t work = tasks == 0 ? 0 : q.rows * plan.keys->front().end() * d;
  if (work >= kMinParallelWork) return parallel_for_dynamic(tasks, attend_task);
  for (int64_t task = 0; task < tasks; ++task) attend_task(task);
}

namespace {

void attend_head(const Attention::Job& job, int64_t sequence, int64_t head,
                 const Scratch& scratch) {
  const AttentionPlan& plan = *job.plan;
  const Segment s = plan.query(sequence), t = plan.key(sequence);
  const int64_t size = job.q.cols / plan.heads, parts = 2 * plan.heads;
  rotate_segment(plan, s, plan.query_factor, false, job.q.col_range(head * size, size));
  rotate_segment(plan, t, plan.key_factor, false, job.kv.col_range(head * size, size));
  append_part(t, head, parts, job.kv, job.cache[sequence]);
  append_part(t, plan.heads + head, parts, job.kv, job.cache[sequence]);
  for (int64_t block = 0; block * kQueryBlock < s.count; ++block)
    attend_block(plan, sequence, head, block, job.q, job.cache[sequence], job.out, job.lse,
                 scratch);
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
  const int64_t sequences = plan.sequences(), d = q.cols;
  parallel_for_dynamic(sequences * plan.heads, [&](int64_t task) {
    const int64_t sequence = task / plan.heads, head = task % plan.heads;
    const Segment s = plan.query(sequence), t = plan.key(sequence);
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
