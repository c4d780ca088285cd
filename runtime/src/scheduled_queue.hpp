#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/scheduled_executor.hpp>
#include <creel/runtime/task.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace creel::detail {

/// The queue of a scheduled executor: a heap by time that gives an item, as a task, when it is due. Items
/// know their place, so that one that is cancelled is taken out in logarithmic time.
///
/// Of the workers that wait one waits for the first item's time, the others for a change of leader: a time
/// wakes one thread, not all.
class ScheduledQueue final : public BlockingQueue<Task>, public std::enable_shared_from_this<ScheduledQueue> {
 public:
  explicit ScheduledQueue(const std::string& name);

  /// Gives it back, as a task, if it is shut down.
  Task add(WorkRef<FutureCore> keep, ScheduledItem& item);
  /// Of periodic work, after a run.
  void add_again(ScheduledItem& item) noexcept;
  void remove(ScheduledItem& item) noexcept;
  /// Whether an item that is due may run.
  bool lets_run(const ScheduledItem& item) const noexcept;
  /// Takes no more, and drops what the policies say.
  void shut_down();
  /// Takes no more, and gives all that is left.
  std::vector<Task> stop();

  std::atomic<bool> keeps_periodic{false};
  std::atomic<bool> keeps_delayed{true};
  std::atomic<bool> removes_cancelled{false};

  using BlockingQueue<Task>::offer;
  using BlockingQueue<Task>::poll;
  void put(Task task) override;
  bool offer(Task&& task, Deadline deadline) override;
  std::optional<Task> poll(Deadline deadline) override;
  void close() noexcept override;
  bool is_closed() const noexcept override { return closed_.load(std::memory_order_acquire); }
  std::size_t size() const noexcept override { return size_.load(std::memory_order_acquire); }
  std::size_t capacity() const noexcept override;

 protected:
  void visit(Test visitor) const override;
  std::size_t extract(Test matches, std::size_t limit) override;

 private:
  friend class ScheduledItem;
  struct Run;
  struct Entry {
    ScheduledItem* item = nullptr;
    Task task;
  };

  static bool before(const ScheduledItem& a, const ScheduledItem& b) noexcept;
  void place(std::size_t index, Entry&& entry) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;
  void push(Entry entry);
  Entry take_out(std::size_t index) noexcept;
  bool is_dropped_by_shutdown(ScheduledItem& item) const noexcept;

  mutable ReentrantLock lock_;  // guards what follows
  Condition changed_;
  std::vector<Entry> heap_;
  std::uint64_t next_sequence_ = 0;
  bool has_leader_ = false;
  bool stopped_ = false;
  std::atomic<bool> closed_{false};
  std::atomic<std::size_t> size_{0};
};

}  // namespace creel::detail
