#include "scheduled_queue.hpp"

#include "scope_exit.hpp"

#include <algorithm>
#include <limits>
#include <mutex>

namespace creel::detail {

/// An item as a task; one that is dropped without having run is cancelled.
struct ScheduledQueue::Run {
  Run(WorkRef<FutureCore> keep_item, ScheduledItem& run_item) noexcept
      : keep(std::move(keep_item)), item(&run_item) {}
  Run(Run&&) noexcept = default;
  Run& operator=(Run&&) = delete;
  ~Run() {
    if (keep) keep->cancel(false);
  }
  void operator()() noexcept {
    const WorkRef<FutureCore> kept = std::move(keep);
    item->run();
  }
  const FutureCore* future() const noexcept { return keep.get(); }
  WorkRef<FutureCore> keep;
  ScheduledItem* item;
};

void ScheduledItem::run() noexcept {
  const std::shared_ptr<ScheduledQueue> queue = queue_.lock();
  if (queue == nullptr || !queue->lets_run(*this)) {
    core().cancel(false);
    return;
  }
  if (!repeats()) return run_once();
  if (!run_and_stay()) return;
  const Time from = repeat_ == Repeat::AtFixedRate ? due() : Deadline::Clock::now();
  due_.store(from + period_, std::memory_order_relaxed);
  queue->add_again(*this);
}

void ScheduledItem::leave_queue() noexcept {
  const std::shared_ptr<ScheduledQueue> queue = queue_.lock();
  if (queue != nullptr && queue->removes_cancelled.load(std::memory_order_relaxed)) queue->remove(*this);
}

ScheduledQueue::ScheduledQueue(const std::string& name)
    : lock_(name), changed_(lock_, "creel::ScheduledThreadPoolExecutor", name, this) {}

std::size_t ScheduledQueue::capacity() const noexcept { return std::numeric_limits<std::size_t>::max(); }

bool ScheduledQueue::before(const ScheduledItem& a, const ScheduledItem& b) noexcept {
  return a.due() != b.due() ? a.due() < b.due() : a.sequence_ < b.sequence_;
}

void ScheduledQueue::place(std::size_t index, Entry&& entry) noexcept {
  entry.item->place_ = index;
  heap_[index] = std::move(entry);
}

void ScheduledQueue::sift_up(std::size_t index) noexcept {
  Entry moving = std::move(heap_[index]);
  for (; index > 0; index = (index - 1) / 2) {
    Entry& parent = heap_[(index - 1) / 2];
    if (!before(*moving.item, *parent.item)) break;
    place(index, std::move(parent));
  }
  place(index, std::move(moving));
}

void ScheduledQueue::sift_down(std::size_t index) noexcept {
  Entry moving = std::move(heap_[index]);
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1].item, *heap_[child].item)) ++child;
    if (!before(*heap_[child].item, *moving.item)) break;
    place(index, std::move(heap_[child]));
    index = child;
  }
  place(index, std::move(moving));
}

// Under lock_, as the two that follow.
void ScheduledQueue::push(Entry entry) {
  ScheduledItem& item = *entry.item;
  item.sequence_ = next_sequence_++;
  heap_.push_back(std::move(entry));
  sift_up(heap_.size() - 1);
  size_.store(heap_.size(), std::memory_order_release);
  if (item.place_ != 0) return;
  has_leader_ = false;  // who waits for a later time waits too long now
  changed_.signal();
}

ScheduledQueue::Entry ScheduledQueue::take_out(std::size_t index) noexcept {
  Entry taken = std::move(heap_[index]);
  taken.item->place_ = ScheduledItem::kNowhere;
  Entry last = std::move(heap_.back());
  heap_.pop_back();
  if (index < heap_.size()) {
    ScheduledItem* const moved = last.item;
    place(index, std::move(last));
    sift_up(index);
    sift_down(moved->place_);
  }
  size_.store(heap_.size(), std::memory_order_release);
  return taken;
}

Task ScheduledQueue::add(WorkRef<FutureCore> keep, ScheduledItem& item) {
  item.queue_ = weak_from_this();
  Entry entry{&item, Task(Run(std::move(keep), item))};
  const std::lock_guard guard{lock_};
  if (is_closed()) return std::move(entry.task);
  push(std::move(entry));
  return {};
}

void ScheduledQueue::add_again(ScheduledItem& item) noexcept {
  Entry entry{&item, Task(Run(WorkRef<FutureCore>(&item.core()), item))};
  const std::lock_guard guard{lock_};
  // If it may not come back, its task is dropped here, and with it cancelled. One that was cancelled since
  // its run has found no place to leave.
  if (stopped_ || (is_closed() && !keeps_periodic.load()) || item.core().is_done()) return;
  push(std::move(entry));
}

void ScheduledQueue::remove(ScheduledItem& item) noexcept {
  Entry removed;  // goes without the lock
  const std::lock_guard guard{lock_};
  if (item.place_ != ScheduledItem::kNowhere) removed = take_out(item.place_);
  if (is_closed() && heap_.empty()) changed_.signal_all();
}

bool ScheduledQueue::lets_run(const ScheduledItem& item) const noexcept {
  if (!is_closed()) return true;
  if (item.repeats()) return keeps_periodic.load();
  return keeps_delayed.load() || item.due() <= Deadline::Clock::now();  // due before: only late, not delayed
}

bool ScheduledQueue::is_dropped_by_shutdown(ScheduledItem& item) const noexcept {
  return item.core().is_done() || !lets_run(item);
}

void ScheduledQueue::shut_down() {
  close();
  std::vector<Entry> dropped;  // cancelled without the lock
  const std::lock_guard guard{lock_};
  std::vector<ScheduledItem*> matching;
  for (const Entry& entry : heap_) {
    if (is_dropped_by_shutdown(*entry.item)) matching.push_back(entry.item);
  }
  for (const ScheduledItem* item : matching) dropped.push_back(take_out(item->place_));
  changed_.signal_all();
}

std::vector<Task> ScheduledQueue::stop() {
  close();
  std::vector<Task> left;
  const std::lock_guard guard{lock_};
  stopped_ = true;
  while (!heap_.empty()) left.push_back(std::move(take_out(0).task));
  changed_.signal_all();
  return left;
}

void ScheduledQueue::put(Task task) {
  if (!offer(std::move(task), Deadline::never())) throw RejectedError("put() on a closed queue of tasks");
}

bool ScheduledQueue::offer(Task&& task, Deadline) {
  if (is_closed()) return false;
  const HandleRef<ScheduledTask<void, Task>> state(
      new ScheduledTask<void, Task>(std::move(task), Deadline::now(), ScheduledItem::Repeat::No, {}));
  return !add(WorkRef<FutureCore>(state.get()), *state);
}

std::optional<Task> ScheduledQueue::poll(Deadline deadline) {
  std::optional<Task> task;
  const std::lock_guard guard{lock_};
  for (;;) {
    if (heap_.empty() && is_closed()) return task;
    const Deadline due = heap_.empty() ? Deadline::never() : Deadline(heap_.front().item->due());
    if (due.expired()) {
      task = take_out(0).task;
      if (!has_leader_ && !heap_.empty()) changed_.signal();
      return task;
    }
    if (deadline.expired()) return task;
    if (heap_.empty() || has_leader_) {
      changed_.await(deadline);
      continue;
    }
    has_leader_ = true;
    const ScopeExit step_down([&] {
      has_leader_ = false;
      if (!heap_.empty()) changed_.signal();  // to the next leader, also when this one was interrupted
    });
    changed_.await(std::min(deadline, due));
  }
}

void ScheduledQueue::close() noexcept {
  const std::lock_guard guard{lock_};
  closed_.store(true, std::memory_order_release);
  changed_.signal_all();
}

void ScheduledQueue::visit(Test visitor) const {
  const std::lock_guard guard{lock_};
  for (const Entry& entry : heap_) {
    if (!visitor(entry.task)) return;
  }
}

std::size_t ScheduledQueue::extract(Test matches, std::size_t limit) {
  std::vector<Entry> removed;  // cancelled without the lock
  const std::lock_guard guard{lock_};
  std::vector<ScheduledItem*> matching;
  for (const Entry& entry : heap_) {
    if (matching.size() < limit && matches(entry.task)) matching.push_back(entry.item);
  }
  for (const ScheduledItem* item : matching) removed.push_back(take_out(item->place_));
  if (is_closed() && heap_.empty()) changed_.signal_all();
  return removed.size();
}

}  // namespace creel::detail
