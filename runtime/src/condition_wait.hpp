#pragma once

#include "thread_record.hpp"

#include <creel/runtime/detail/lock_core.hpp>

namespace creel::detail {

/// A thread's wait in a condition's list, whatever lock the condition belongs to. Made and finished with the
/// lock held, awaited without it.
class ConditionWait {
 public:
  ConditionWait(ThreadRecord& self, ConditionList& list) noexcept;
  /// Until notified, or `deadline`, or an interrupt that counts.
  void await(const Blocker& blocker, Deadline deadline, Interruptible interruptible) noexcept;
  /// True if whoever notified the thread has put it into the queue of the lock, which it takes next.
  bool is_queued() noexcept { return !node_.take(ConditionNode::Way::Own); }
  WaitOutcome finish() noexcept;

 private:
  ThreadRecord& self_;
  ConditionList& list_;
  ConditionNode& node_;
  WaitOutcome outcome_ = WaitOutcome::Met;
  std::uint8_t interrupted_meanwhile_ = 0;
};

}  // namespace creel::detail
