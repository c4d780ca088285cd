#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>

namespace creel {
namespace {

using detail::Interruptible;
using detail::WaitOutcome;

[[noreturn]] void throw_interrupted(const detail::LockCore& core, const char* what) {
  std::string text = std::string("interrupted while ") + what + " a creel::Monitor";
  if (core.name() != nullptr) text += std::string(" \"") + core.name() + "\"";
  throw InterruptedError(text);
}

}  // namespace

void Monitor::lock() { core_.lock(detail::caller_stack_pointer(), Deadline::never(), Interruptible::No); }

bool Monitor::try_lock() { return core_.try_lock(detail::caller_stack_pointer()); }

bool Monitor::try_lock(Deadline deadline) {
  const WaitOutcome outcome = core_.lock(detail::caller_stack_pointer(), deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) throw_interrupted(core_, "waiting to enter");
  return outcome == WaitOutcome::Met;
}

bool Monitor::wait(Deadline deadline) {
  const Blocker blocker{&core_, core_.type(), core_.name(), nullptr, WaitKind::MonitorWait};
  const WaitOutcome outcome = core_.wait(waiters_, blocker, deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) throw_interrupted(core_, "waiting on");
  return outcome == WaitOutcome::Met;
}

}  // namespace creel
