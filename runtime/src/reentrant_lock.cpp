#include "thread_record.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/reentrant_lock.hpp>

namespace creel {
namespace {

using detail::Interruptible;
using detail::WaitOutcome;

[[noreturn]] void throw_interrupted(const detail::LockCore& core) {
  std::string text = "interrupted while waiting for a creel::ReentrantLock";
  if (core.name() != nullptr) text += std::string(" \"") + core.name() + "\"";
  throw InterruptedError(text);
}

}  // namespace

void ReentrantLock::lock() {
  core_.lock(detail::caller_stack_pointer(), Deadline::never(), Interruptible::No);
}

void ReentrantLock::lock_interruptibly() {
  const auto outcome = core_.lock(detail::caller_stack_pointer(), Deadline::never(), Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) throw_interrupted(core_);
}

bool ReentrantLock::try_lock() { return core_.try_lock(detail::caller_stack_pointer()); }

bool ReentrantLock::try_lock(Deadline deadline) {
  const auto outcome = core_.lock(detail::caller_stack_pointer(), deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) throw_interrupted(core_);
  return outcome == WaitOutcome::Met;
}

Condition ReentrantLock::condition(std::string name) { return Condition(*this, std::move(name)); }

}  // namespace creel
