#include "condition_wait.hpp"

#include <creel/runtime/lock_support.hpp>

namespace creel::detail {

ConditionWait::ConditionWait(ThreadRecord& self, ConditionList& list) noexcept
    : self_(self), list_(list), node_(self.condition_node) {
  node_.notified.store(false, std::memory_order_relaxed);
  node_.way.store(ConditionNode::Way::None, std::memory_order_relaxed);
  list_.append(node_);
}

void ConditionWait::await(const Blocker& blocker, Deadline deadline, Interruptible interruptible) noexcept {
  while (!node_.notified.load(std::memory_order_acquire)) {
    if (self_.interrupted.load(std::memory_order_relaxed)) {
      if (interruptible == Interruptible::Yes) {
        outcome_ = WaitOutcome::Interrupted;
        return;
      }
      interrupted_meanwhile_ |= self_.take_interrupt();
    }
    if (deadline.expired()) {
      outcome_ = WaitOutcome::TimedOut;
      return;
    }
    LockSupport::park(blocker, deadline);
  }
}

WaitOutcome ConditionWait::finish() noexcept {
  self_.put_interrupt_back(interrupted_meanwhile_);
  if (node_.notified.load(std::memory_order_relaxed))
    return WaitOutcome::Met;  // a notify came first: it must not be lost
  list_.remove(node_);
  if (outcome_ == WaitOutcome::Interrupted) self_.take_interrupt();
  return outcome_;
}

}  // namespace creel::detail
