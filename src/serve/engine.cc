#include "axl/serve/engine.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <thread>

#include "axl/base/clock.h"
#include "axl/base/format.h"
#include "axl/infer/batch.h"
#include "serve/stream.h"

namespace axl {
namespace {

// Prompt tokens that a pass may take beside texts that are being written, if it has no more of
// those: enough for products at speed, little to wait for.
constexpr int64_t kPromptRowsBeside = 32;

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

class Handle : public Completion {
 public:
  explicit Handle(std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}
  ~Handle() override { mailbox_->abandon(); }
  std::optional<CompletionPiece> next(std::chrono::milliseconds patience) override {
    return mailbox_->take(patience);
  }

 private:
  std::shared_ptr<Mailbox> mailbox_;
};

void validate(const CompletionRequest& r) {
  r.sampling.validate();
  if (r.max_tokens < 0)
    throw UsageError(format("max_tokens is {}; it must be 0 or more", r.max_tokens));
  for (const int32_t token : r.prompt)
    if (token < 0 || token >= kVocab)
      throw UsageError(format("token {} of a prompt; it must be in [0, {}]", token, kVocab - 1));
}

}  // namespace

class Engine::Worker {
 public:
  Worker(const Model& model, EngineOptions options)
      : model_(model),
        options_(options),
        config_(model.config()),
        reads_along_(reads_along(model, options.renewal)),
        rows_(std::max(kPrefillRows, options.sequences)),
        batch_(model, options.sequences, rows_),
        caches_(options.sequences),
        thread_([this] { run(); }) {}

  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    arrived_.notify_one();
    thread_.join();
  }

  std::shared_ptr<Mailbox> submit(CompletionRequest request) {
    auto stream = std::make_unique<Stream>(std::move(request), config_);
    std::shared_ptr<Mailbox> mailbox = stream->mailbox();
    {
      const std::lock_guard lock(mutex_);
      const auto waiting = static_cast<int64_t>(waiting_.size());
      if (stats_.running + waiting >= options_.sequences + options_.queue)
        throw BusyError(format("{} texts are being written and {} wait for their turn",
                               stats_.running, waiting));
      waiting_.push_back(std::move(stream));
    }
    arrived_.notify_one();
    return mailbox;
  }

  EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    EngineStats s = stats_;
    s.waiting = static_cast<int64_t>(waiting_.size());
    return s;
  }

 private:
  using Streams = std::list<std::unique_ptr<Stream>>;

  /// What is left of a cache's last text may serve another.
  struct CacheUse {
    bool busy = false;
    uint64_t last = 0;  ///< when, in passes
  };

  void run() {
    while (admit()) {
      try {
        pass();
      } catch (const std::exception& e) {
        for (const std::unique_ptr<Stream>& s : running_)
          fail(*s, format("the model could not go on: {}", e.what()));
      }
      retire();
    }
    const std::lock_guard lock(mutex_);
    for (Streams* streams : {&running_, &waiting_})
      for (const std::unique_ptr<Stream>& s : *streams) s->finish("cancelled");
  }

  /// Lets those who wait begin while there are caches. False when the engine is to stop.
  bool admit() {
    std::unique_lock lock(mutex_);
    if (running_.empty()) arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return false;
    const Clock::time_point now = Clock::now();
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      (*it)->check(now);
      const int64_t sequence = (*it)->finished() ? -1 : cache_of_text();
      if (sequence >= 0) {
        caches_[sequence].busy = true;
        (*it)->sequence = sequence;
        (*it)->begin(options_.draft > 0 ? &model_ : nullptr);
        // What the cache holds beyond the common prefix is of another text.
        const int64_t common = common_prefix(batch_.tokens(sequence), (*it)->window());
        batch_.truncate(sequence, (*it)->may_reuse() ? reusable(**it, common) : 0);
        (*it)->reuse(batch_.tokens(sequence).size());
        running_.push_back(std::move(*it));
      }
      it = *it && !(*it)->finished() ? std::next(it) : waiting_.erase(it);
    }
    stats_.running = static_cast<int64_t>(running_.size());
    return true;
  }

  /// The last token must be read for its logits.
  static int64_t reusable(Stream& stream, int64_t common) {
    return std::min(common, static_cast<int64_t>(stream.window().size()) - 1);
  }

  /// The one that has been idle longest, -1 when none is idle. What others hold is copied.
  int64_t idle_cache() const {
    int64_t idle = -1;
    for (int64_t i = 0; i < batch_.sequences(); ++i)
      if (!caches_[i].busy && (idle < 0 || caches_[i].last < caches_[idle].last)) idle = i;
    return idle;
  }

  /// An idle one, or one that was lent for reading along; -1 when every one has its text.
  int64_t cache_of_text() {
    if (const int64_t idle = idle_cache(); idle >= 0) return idle;
    for (const std::unique_ptr<Stream>& s : running_)
      if (s->next_sequence >= 0) return std::exchange(s->next_sequence, -1);
    return -1;
  }

  void pass() {
    const Clock::time_point begin = Clock::now();
    for (const std::unique_ptr<Stream>& s : running_) s->check(begin);
    plan();
    if (portions_.empty()) return;
    batch_.read(portions_);
    const Mat logits = batch_.logits();
    const ConstMat gate = batch_.gate();
    int64_t row = 0;
    for (size_t i = 0; i < readers_.size(); ++i) {
      const int64_t wanted = portions_[i].wanted;
      answer(*readers_[i], std::ssize(portions_[i].tokens), logits.row_range(row, wanted),
             gate.row_range(row, wanted));
      row += wanted;
    }
    const std::lock_guard lock(mutex_);
    ++stats_.passes;
    stats_.pass_rows += planned_rows();
    stats_.pass_seconds += seconds_since(begin);
  }

  /// Nobody takes up what its caches hold.
  void fail(Stream& stream, const std::string& message) {
    stream.fail(message);
    batch_.truncate(stream.sequence, 0);
    if (stream.next_sequence >= 0) batch_.truncate(stream.next_sequence, 0);
  }

  void answer(Stream& stream, int64_t tokens, ConstMat logits, ConstMat gate) {
    if (std::all_of(logits.data, logits.data + logits.size(),
                    [](float x) { return std::isfinite(x); }))
      stream.take(tokens, logits, gate);
    else
      fail(stream, "the model's logits are not finite");
  }

  /// The next byte of every text, prompts in the order in which they came, and in what room they
  /// leave, next windows.
  void plan() {
    portions_.clear();
    readers_.clear();
    const auto writes = [](const std::unique_ptr<Stream>& s) {
      return !s->finished() && s->unread_count() == 1;
    };
    const int64_t writers = std::count_if(running_.begin(), running_.end(), writes);
    // What each may guess ahead; a next window wants two rows beside.
    const int64_t own_rows =
        writers == 0 ? 0 : model_.rows_alike() / writers - (reads_along_ ? 2 : 0);
    const int64_t guesses = std::clamp<int64_t>(own_rows - 1, 0, options_.draft);
    for (const std::unique_ptr<Stream>& s : running_)
      if (writes(s)) add_writer(*s, guesses, writers);
    int64_t room = writers == 0
                       ? rows_
                       : std::min(rows_ - planned_rows(), std::max(kPromptRowsBeside, writers));
    for (const std::unique_ptr<Stream>& s : running_) {
      if (s->finished() || s->unread_count() == 1) continue;
      if (s->may_reuse()) reuse_others(*s);
      const int64_t count = std::min(room, s->unread_count());
      if (count == 0 || (s->may_reuse() && is_being_read(*s))) continue;
      add(*s, count);
      room -= count;
    }
    // While a pass has few rows, more of them cost little.
    if (reads_along_ && 2 * writers <= Model::few_rows()) read_along(writers);
  }

  /// Portions of the next windows of the first `writers` readers, into caches that no text has:
  /// reuse_others() will find them there.
  void read_along(int64_t writers) {
    int64_t room = rows_ - planned_rows();
    for (int64_t i = 0; i < writers; ++i) {
      Stream& s = *readers_[i];
      const int64_t length = std::ssize(s.window());
      if (length <= context_drop(config_) || !s.may_move() || !s.may_reuse() || !has_next_cache(s))
        continue;
      const std::span<const int32_t> next = s.window().subspan(context_drop(config_));
      const int64_t read = common_prefix(batch_.tokens(s.next_sequence), next);
      batch_.truncate(s.next_sequence, read);
      const int64_t due = std::min(room, due_of_next_window(config_, length, read));
      if (due == 0) continue;
      portions_.push_back({s.next_sequence, next.subspan(read, due)});
      room -= due;
    }
  }

  int64_t planned_rows() const {
    int64_t rows = 0;
    for (const Batch::Portion& p : portions_) rows += std::ssize(p.tokens);
    return rows;
  }

  bool has_next_cache(Stream& s) {
    if (s.next_sequence < 0) s.next_sequence = idle_cache();
    if (s.next_sequence >= 0) caches_[s.next_sequence].busy = true;
    return s.next_sequence >= 0;
  }

  void add_writer(Stream& stream, int64_t guesses, int64_t writers) {
    if (guesses == 0 || stream.wants_every_logit()) return add(stream, 1);
    const std::span<const int32_t> tokens = stream.unread_and_guesses(guesses, writers);
    add(stream, tokens, std::ssize(tokens));
  }

  void add(Stream& stream, int64_t count) {
    add(stream, stream.window().subspan(stream.read_count(), count),
        stream.wants_every_logit() ? count : 1);
  }

  void add(Stream& stream, std::span<const int32_t> tokens, int64_t wanted) {
    // A context that has moved begins anew, and behind a text there may be wrong guesses.
    batch_.truncate(stream.sequence, stream.read_count());
    portions_.push_back({stream.sequence, tokens, wanted});
    readers_.push_back(&stream);
  }

  void reuse_others(Stream& stream) {
    int64_t best = -1, longest = stream.read_count();
    for (int64_t i = 0; i < batch_.sequences(); ++i) {
      if (i == stream.sequence) continue;
      const int64_t common = reusable(stream, common_prefix(batch_.tokens(i), stream.window()));
      if (common > longest) best = i, longest = common;
    }
    if (best < 0) return;
    batch_.copy_prefix(best, stream.sequence, longest);
    stream.reuse(longest);
  }

  /// Whether another text reads in this pass what this one would read next: several answers to one
  /// prompt were asked for.
  bool is_being_read(Stream& stream) const {
    return std::any_of(readers_.begin(), readers_.end(), [&](Stream* other) {
      return common_prefix(other->window(), stream.window()) > stream.read_count() + 1 &&
             other->read_count() == stream.read_count() && other->unread_count() > 1;
    });
  }

  void retire() {
    const std::lock_guard lock(mutex_);
    for (const std::unique_ptr<Stream>& s : running_) {
      if (!s->finished()) continue;
      for (const int64_t sequence : {s->sequence, s->next_sequence})
        if (sequence >= 0) caches_[sequence] = {false, stats_.passes};
      stats_.prompt_tokens += s->prompt_tokens();
      stats_.reused_tokens += s->prompt_reused();
      stats_.written_tokens += s->new_tokens();
      stats_.guesses += s->guesses_made();
      stats_.right_guesses += s->guesses_right();
    }
    running_.remove_if([](const std::unique_ptr<Stream>& s) { return s->finished(); });
    stats_.running = static_cast<int64_t>(running_.size());
  }

  const Model& model_;
  const EngineOptions options_;
  const ModelConfig& config_;
  const bool reads_along_;
  const int64_t rows_;
  Batch batch_;
  std::vector<CacheUse> caches_;
  Streams running_;
  std::vector<Batch::Portion> portions_;
  std::vector<Stream*> readers_;  ///< of each portion but those that are read along

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  Streams waiting_;
  EngineStats stats_;
  bool stopping_ = false;
  std::thread thread_;  ///< the last: it uses all of the above
};

Engine::Engine(std::shared_ptr<const Model> model, EngineOptions options)
    : model_(std::move(model)) {
  if (options.sequences < 1 || options.queue < 1)
    throw UsageError(
        format("an engine of {} texts at once and a queue of {}; both must be 1 or more",
               options.sequences, options.queue));
  if (options.draft < 0)
    throw UsageError(format("{} bytes to guess ahead; it must be 0 or more", options.draft));
  worker_ = std::make_unique<Worker>(*model_, options);
}

Engine::~Engine() = default;

std::unique_ptr<Completion> Engine::submit(CompletionRequest request) {
  validate(request);
  return std::make_unique<Handle>(worker_->submit(std::move(request)));
}

EngineStats Engine::stats() const { return worker_->stats(); }

}  // namespace axl
