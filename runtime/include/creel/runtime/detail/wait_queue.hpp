#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/spin_lock.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace creel {

struct Blocker;

namespace detail {

class ThreadRecord;
struct WaitNode;
struct ConditionNode;

/// A bit of the word that Blocker::owner points to which is the lock's own; the rest is the owner's id.
inline constexpr std::uint64_t kOwnerFlag = std::uint64_t{1} << 63;

/// How a wait ended.
enum class WaitOutcome : std::uint8_t { Met, TimedOut, Interrupted };

/// Whether interrupt() ends a wait. If not, the interrupt flag is set again when the wait is over.
enum class Interruptible : bool { No, Yes };

/// The FIFO of parked threads inside a synchronizer: the one place where creel's locks, semaphores, latches
/// and futures wait. The synchronizer keeps its own state in atomics; a waiter tries to take what it wants by
/// `ready`.
///
/// No wake-up is lost: a waiter enters the queue, under the queue's lock, before it tries; whoever makes
/// `ready` possible either changes the state inside change_and_wake_*(), under the same lock, or finds out by
/// a flag in that state, which a failing `ready` sets, that it has to.
///
/// A synchronizer may be destroyed as soon as a thread knows from its state that it is done with, though the
/// thread that changed the state is still inside the call: the change is made under the lock, and the
/// destructor waits for it.
class WaitQueue {
 public:
  enum class Order : std::uint8_t {
    Head,  ///< only the longest waiting thread may try: locks, semaphores
    Any,   ///< every woken thread may try: latches, futures, joins
  };

  WaitQueue() noexcept = default;
  ~WaitQueue() { lock_.wait_until_free(); }
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  /// Waits until `ready()` returns true (it may take something as it does so), the deadline passes or, if
  /// interruptible, the thread is interrupted (its flag is then clear). `ready` may not throw.
  /// Artificial: a name that says nothing in dumps, where await_ready() stands above it.
  template <typename Ready>
  [[gnu::artificial]] inline WaitOutcome await(const Blocker& blocker, Deadline deadline,
                                               Interruptible interruptible, Order order,
                                               Ready&& ready) noexcept {
    using Function = std::remove_reference_t<Ready>;
    return await_ready(
        blocker, deadline, interruptible, order,
        [](void* function) -> bool { return (*static_cast<Function*>(function))(); },
        const_cast<std::remove_const_t<Function>*>(&ready));
  }

  /// Puts a thread at the end that waits in a condition: it goes on by await_queued(), and must be woken to
  /// do so.
  void append(ThreadRecord& thread) noexcept;
  /// As await(), by a thread that somebody has put into the queue.
  template <typename Ready>
  [[gnu::artificial]] inline WaitOutcome await_queued(const Blocker& blocker, Order order,
                                                      Ready&& ready) noexcept {
    using Function = std::remove_reference_t<Ready>;
    return await_from_within(
        blocker, Deadline::never(), Interruptible::No, order,
        [](void* function) -> bool { return (*static_cast<Function*>(function))(); },
        const_cast<std::remove_const_t<Function>*>(&ready));
  }

  /// Calls `change(no_waiters)` under the queue's lock, then lets the longest waiting thread try again.
  template <typename Change>
  void change_and_wake_one(Change&& change) noexcept {
    lock_.lock();
    change(size() == 0);
    const std::shared_ptr<ThreadRecord> thread = first_thread();
    lock_.unlock();  // the last touch: see above
    wake(thread);
  }

  /// Calls `change()` under the queue's lock and lets every waiting thread try again.
  template <typename Change>
  void change_and_wake_all(Change&& change) noexcept {
    lock_.lock();
    change();
    wake_all_locked();
    lock_.unlock();
  }

  /// Lets the longest waiting thread try again.
  void wake_one() noexcept {
    if (!empty()) change_and_wake_one([](bool) {});
  }

  bool empty() const noexcept { return size() == 0; }
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  /// Whether that thread waits here now.
  bool contains(const ThreadRecord* thread) const noexcept;

 private:
  WaitOutcome await_ready(const Blocker& blocker, Deadline deadline, Interruptible interruptible, Order order,
                          bool (*ready)(void*), void* function) noexcept;
  WaitOutcome await_from_within(const Blocker& blocker, Deadline deadline, Interruptible interruptible,
                                Order order, bool (*ready)(void*), void* function) noexcept;
  void append(WaitNode& node) noexcept;
  void remove(WaitNode& node) noexcept;
  std::shared_ptr<ThreadRecord> first_thread() const noexcept;
  void wake_all_locked() noexcept;
  static void wake(const std::shared_ptr<ThreadRecord>& thread) noexcept;

  mutable SpinLock lock_;  // guards what follows; size_ and head_ are also read without it
  std::atomic<std::uint32_t> size_{0};
  std::atomic<WaitNode*> head_{nullptr};
  WaitNode* tail_ = nullptr;
};

}  // namespace detail
}  // namespace creel
