#include <creel/runtime/condition.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel {

using detail::Interruptible;
using detail::WaitOutcome;

WaitOutcome Condition::wait(Deadline deadline, Interruptible interruptible) {
  const Blocker blocker{owner_ != nullptr ? owner_ : this, type_, name_.empty() ? nullptr : name_.c_str(),
                        nullptr, WaitKind::Parking};
  return lock_.core_.wait(waiters_, blocker, deadline, interruptible);
}

bool Condition::await(Deadline deadline) {
  const WaitOutcome outcome = wait(deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) {
    throw InterruptedError(std::string("interrupted while waiting on a ") + type_ +
                           (name_.empty() ? "" : " \"" + name_ + "\""));
  }
  return outcome == WaitOutcome::Met;
}

void Condition::await_uninterruptibly() { wait(Deadline::never(), Interruptible::No); }

}  // namespace creel
