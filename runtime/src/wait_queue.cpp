#include "sync_point.hpp"
#include "thread_record.hpp"

#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/lock_support.hpp>

#include <mutex>

namespace creel::detail {

WaitOutcome WaitQueue::await_ready(const Blocker& blocker, Deadline deadline, Interruptible interruptible,
                                   Order order, bool (*ready)(void*), void* function) noexcept {
  append(current_record().wait_node);
  return await_from_within(blocker, deadline, interruptible, order, ready, function);
}

void WaitQueue::append(ThreadRecord& thread) noexcept { append(thread.wait_node); }

WaitOutcome WaitQueue::await_from_within(const Blocker& blocker, Deadline deadline,
                                         Interruptible interruptible, Order order, bool (*ready)(void*),
                                         void* function) noexcept {
  ThreadRecord& self = current_record();
  WaitNode& node = self.wait_node;
  std::uint8_t interrupted_meanwhile = 0;
  const auto leave = [&](WaitOutcome outcome) {
    remove(node);
    if (outcome != WaitOutcome::Met) wake_one();  // a wake-up that was meant for us goes to the next
    self.put_interrupt_back(interrupted_meanwhile);
    return outcome;
  };
  for (;;) {
    sync_point();
    if (const std::uint8_t taken = self.take_interrupt(); taken != 0) {
      if (interruptible == Interruptible::Yes) return leave(WaitOutcome::Interrupted);
      interrupted_meanwhile |= taken;  // park() would return at once while the flag is set
    }
    const bool may_try = order == Order::Any || head_.load(std::memory_order_acquire) == &node;
    if (may_try && ready(function)) return leave(WaitOutcome::Met);
    if (deadline.expired()) return leave(WaitOutcome::TimedOut);
    LockSupport::park(blocker, deadline);
  }
}

void WaitQueue::append(WaitNode& node) noexcept {
  const std::lock_guard guard{lock_};
  node.next = nullptr;
  node.previous = tail_;
  if (tail_ != nullptr) {
    tail_->next = &node;
  } else {
    head_.store(&node, std::memory_order_release);
  }
  tail_ = &node;
  size_.store(size() + 1, std::memory_order_relaxed);
}

void WaitQueue::remove(WaitNode& node) noexcept {
  const std::lock_guard guard{lock_};
  if (node.previous != nullptr) {
    node.previous->next = node.next;
  } else {
    head_.store(node.next, std::memory_order_release);
  }
  (node.next != nullptr ? node.next->previous : tail_) = node.previous;
  size_.store(size() - 1, std::memory_order_relaxed);
}

bool WaitQueue::contains(const ThreadRecord* thread) const noexcept {
  const std::lock_guard guard{lock_};
  const WaitNode* node = head_.load(std::memory_order_relaxed);
  while (node != nullptr && node->thread != thread) node = node->next;
  return node != nullptr;
}

std::shared_ptr<ThreadRecord> WaitQueue::first_thread() const noexcept {
  const WaitNode* node = head_.load(std::memory_order_relaxed);
  // Shared: once we let go of the lock it may leave, and end, before we wake it.
  return node != nullptr ? node->thread->shared_from_this() : nullptr;
}

void WaitQueue::wake(const std::shared_ptr<ThreadRecord>& thread) noexcept {
  sync_point();
  if (thread != nullptr) LockSupport::unpark(*thread);
}

void WaitQueue::wake_all_locked() noexcept {
  for (WaitNode* node = head_.load(std::memory_order_relaxed); node != nullptr; node = node->next) {
    LockSupport::unpark(*node->thread);  // it cannot leave while we hold the lock
  }
}

}  // namespace creel::detail
