#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/task.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace creel::detail {

/// The unbounded queue of a thread pool. Tasks lie in segments, so that putting one in allocates nothing most
/// of the time; producers and workers have a lock of a few instructions each.
///
/// A wake-up costs some microseconds, a hundred times what a task's way through the queue does. So a worker
/// that finds nothing looks around for a while before it sleeps, one at a time; a producer wakes nobody while
/// one looks around or is on its way, and whoever takes a task wakes the next if there are more.
class TaskQueue final : public BlockingQueue<Task> {
 public:
  enum class Mode : std::uint8_t {
    Keeps,     ///< tasks until a worker takes them
    HandsOff,  ///< offer() wants a worker that waits
  };
  /// The name stands in dumps.
  explicit TaskQueue(std::string name, Mode mode = Mode::Keeps);
  ~TaskQueue() override;

  using BlockingQueue<Task>::offer;
  using BlockingQueue<Task>::poll;
  void put(Task task) override;
  bool offer(Task&& task, Deadline deadline) override;
  std::optional<Task> poll(Deadline deadline) override;
  void close() noexcept override;
  bool is_closed() const noexcept override { return closed_.load(std::memory_order_acquire); }
  std::size_t size() const noexcept override;
  std::size_t capacity() const noexcept override;
  /// Of one that hands off: a task is there for which nobody waits any more (the worker that did took another
  /// one, or left).
  bool needs_worker() const noexcept { return mode_ == Mode::HandsOff && size() > waiting(); }

 protected:
  void visit(Test visitor) const override;
  std::size_t extract(Test matches, std::size_t limit) override;

 private:
  static constexpr std::size_t kSegmentTasks = 126;
  struct Segment {
    std::array<Task, kSegmentTasks> tasks;
    std::unique_ptr<Segment> next;
  };

  void append(Task&& task);
  bool take(std::optional<Task>& task) noexcept;
  void wake_for_new_task() noexcept;
  void wake_for_more() noexcept;
  std::unique_ptr<Segment> new_segment();

  std::size_t waiting() const noexcept {
    return idle_.size() + (looking_.load(std::memory_order_relaxed) ? 1 : 0);
  }

  const std::string name_;
  const Mode mode_;
  std::atomic<bool> closed_{false};
  std::atomic<Segment*> spare_{nullptr};

  alignas(64) mutable SpinLock head_lock_;
  std::unique_ptr<Segment> head_;
  std::size_t head_index_ = 0;
  std::atomic<std::uint64_t> taken_{0};
  std::uint64_t known_added_ = 0;  // added_ as last read: its cache line is the producers'

  alignas(64) mutable SpinLock tail_lock_;
  Segment* tail_ = nullptr;
  std::size_t tail_index_ = 0;
  std::atomic<std::uint64_t> added_{0};

  alignas(64) std::atomic<bool> looking_{false};  // a worker is looking around
  std::atomic<bool> waking_{false};               // a worker is on its way
  WaitQueue idle_;
};

}  // namespace creel::detail
