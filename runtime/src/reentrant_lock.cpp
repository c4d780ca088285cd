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

bool ReentrantLock::has_queued_thread(const Thread& thread) const noexcept {
  return core_.has_queued(thread.record().get());
}

std::uint32_t ReentrantLock::wait_queue_length(const Condition& condition) const {
  return condition.waiters_of(&core_);
}

Thread ReentrantLock::owner() const {
  const std::uint64_t id = core_.owner().load(std::memory_order_relaxed) & ~detail::kOwnerFlag;
  return id != 0 ? Thread(detail::ThreadRegistry::instance().find(id)) : Thread();
}

std::string ReentrantLock::to_string() const {
  std::string text = core_.type();
  if (core_.name() != nullptr) text += std::string(" \"") + core_.name() + "\"";
  const Thread holder = owner();
  return text + (holder        ? " [locked by \"" + holder.name() + "\"]"
                 : is_locked() ? " [locked]"
                               : " [unlocked]");
}

Condition ReentrantLock::condition(std::string name) { return Condition(*this, std::move(name)); }

}  // namespace creel
