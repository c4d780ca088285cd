#include "task_queue.hpp"

#include "spin_wait.hpp"
#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

#include <limits>
#include <mutex>
#include <utility>
#include <vector>

namespace creel::detail {

TaskQueue::TaskQueue(std::string name, Mode mode)
    : name_(std::move(name)), mode_(mode), head_(std::make_unique<Segment>()), tail_(head_.get()) {}

TaskQueue::~TaskQueue() {
  delete spare_.load(std::memory_order_relaxed);
  while (head_ != nullptr)
    head_ = std::move(head_->next);  // one by one: a long chain would overflow the stack
}

std::size_t TaskQueue::size() const noexcept {
  // taken_ first: it never passes the added_ that is read after it. acquire: a counted task is there.
  const std::uint64_t taken = taken_.load(std::memory_order_acquire);
  return static_cast<std::size_t>(added_.load(std::memory_order_acquire) - taken);
}

std::size_t TaskQueue::capacity() const noexcept {
  return mode_ == Mode::HandsOff ? 0 : std::numeric_limits<std::size_t>::max();
}

std::unique_ptr<TaskQueue::Segment> TaskQueue::new_segment() {
  // acquire: its last user is done with it.
  if (Segment* spare = spare_.exchange(nullptr, std::memory_order_acquire))
    return std::unique_ptr<Segment>(spare);
  return std::make_unique<Segment>();
}

// Under tail_lock_.
void TaskQueue::append(Task&& task) {
  if (tail_index_ == kSegmentTasks) {
    tail_->next = new_segment();
    tail_ = tail_->next.get();
    tail_index_ = 0;
  }
  tail_->tasks[tail_index_++] = std::move(task);
  // release: publishes the task and the link to its segment. seq_cst by the fence in wake_for_new_task().
  added_.store(added_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void TaskQueue::put(Task task) {
  if (!offer(std::move(task), Deadline::never())) throw RejectedError("put() on a closed queue of tasks");
}

bool TaskQueue::offer(Task&& task, Deadline) {
  {
    const std::lock_guard guard{tail_lock_};
    if (closed_.load(std::memory_order_relaxed)) return false;
    if (mode_ == Mode::HandsOff && size() >= waiting()) return false;
    append(std::move(task));
  }
  wake_for_new_task();
  return true;
}

// No wake-up is lost: a worker takes its flag back (looking_, waking_), then looks; a producer adds, then
// looks at the flag; with a fence between on either side, one of the two sees the other.
void TaskQueue::wake_for_new_task() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (looking_.load(std::memory_order_relaxed) || idle_.empty()) return;
  if (waking_.load(std::memory_order_relaxed) || waking_.exchange(true, std::memory_order_relaxed)) return;
  idle_.wake_one();
}

// Whoever took a task, or was woken and leaves: there may be work for one more.
void TaskQueue::wake_for_more() noexcept {
  if (size() != 0) wake_for_new_task();
}

bool TaskQueue::take(std::optional<Task>& task) noexcept {
  std::unique_ptr<Segment> used;
  {
    const std::lock_guard guard{head_lock_};
    const std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    if (taken == known_added_) known_added_ = added_.load(std::memory_order_acquire);
    if (taken == known_added_) return false;
    if (head_index_ == kSegmentTasks) {
      used = std::exchange(head_, std::move(head_->next));
      head_index_ = 0;
    }
    task.emplace(std::move(head_->tasks[head_index_++]));
    taken_.store(taken + 1, std::memory_order_release);
  }
  if (used != nullptr) {
    Segment* none = nullptr;
    if (spare_.compare_exchange_strong(none, used.get(), std::memory_order_release)) used.release();
  }
  return true;
}

std::optional<Task> TaskQueue::poll(Deadline deadline) {
  std::optional<Task> task;
  if (take(task)) {
    if (!idle_.empty()) wake_for_more();
    return task;
  }
  if (is_closed() || deadline.expired()) return task;
  const ThreadRecord& self = current_record();
  if (!self.is_virtual && !looking_.exchange(true, std::memory_order_relaxed)) {
    const bool found = spin_until([this] { return size() != 0 || is_closed(); });
    looking_.store(false, std::memory_order_relaxed);
    if (found && take(task)) {
      std::atomic_thread_fence(std::memory_order_seq_cst);  // see wake_for_new_task()
      wake_for_more();
      return task;
    }
  }
  const auto ready = [&] {
    waking_.store(false, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // see wake_for_new_task()
    return take(task) || is_closed();
  };
  const Blocker blocker{
      .object = this, .type = "creel::ThreadPoolExecutor", .name = name_.empty() ? nullptr : name_.c_str()};
  const WaitOutcome outcome =
      idle_.await(blocker, deadline, Interruptible::Yes, WaitQueue::Order::Any, ready);
  // Only now out of the queue: a wake-up may have been sent here after ready() had its task.
  waking_.store(false, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  wake_for_more();
  if (outcome == WaitOutcome::Interrupted) throw InterruptedError("interrupted while waiting for a task");
  return task;
}

void TaskQueue::close() noexcept {
  {
    const std::lock_guard guard{tail_lock_};
    closed_.store(true, std::memory_order_release);
  }
  idle_.change_and_wake_all([] {});
}

void TaskQueue::visit(Test visitor) const {
  const std::scoped_lock guard{head_lock_, tail_lock_};
  const Segment* segment = head_.get();
  std::size_t index = head_index_;
  for (std::size_t left = size(); left > 0; --left, ++index) {
    if (index == kSegmentTasks) {
      segment = segment->next.get();
      index = 0;
    }
    if (!visitor(segment->tasks[index])) return;
  }
}

std::size_t TaskQueue::extract(Test matches, std::size_t limit) {
  std::vector<Task> removed;  // destroyed without the locks
  const std::scoped_lock guard{head_lock_, tail_lock_};
  Segment* from = head_.get();
  Segment* to = head_.get();
  std::size_t from_index = head_index_;
  std::size_t to_index = head_index_;
  const std::size_t count = size();
  for (std::size_t i = 0; i < count; ++i, ++from_index) {
    if (from_index == kSegmentTasks) {
      from = from->next.get();
      from_index = 0;
    }
    Task& task = from->tasks[from_index];
    if (removed.size() < limit && matches(task)) {
      removed.push_back(std::move(task));
      continue;
    }
    if (to_index == kSegmentTasks) {
      to = to->next.get();
      to_index = 0;
    }
    if (&task != &to->tasks[to_index]) to->tasks[to_index] = std::move(task);
    ++to_index;
  }
  tail_ = to;
  tail_index_ = to_index;
  known_added_ = added_.load(std::memory_order_relaxed) - removed.size();
  added_.store(known_added_, std::memory_order_release);
  while (to->next != nullptr) to->next = std::move(to->next->next);
  return removed.size();
}

}  // namespace creel::detail
