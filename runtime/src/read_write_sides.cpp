#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/read_write_lock.hpp>

// The forms of lock and unlock, each with the stack pointer of its caller.

namespace creel {

using detail::caller_stack_pointer;

namespace {

bool met(detail::WaitOutcome outcome, const char* side, const std::string& lock) {
  if (outcome == detail::WaitOutcome::Interrupted) {
    throw InterruptedError(std::string("interrupted while waiting to ") + side + ": " + lock);
  }
  return outcome == detail::WaitOutcome::Met;
}

}  // namespace

void ReentrantReadWriteLock::ReadLock::lock() {
  lock_.acquire_read(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}
void ReentrantReadWriteLock::ReadLock::lock_interruptibly() {
  met(lock_.acquire_read(caller_stack_pointer(), Deadline::never(), Interruptible::Yes), "read",
      lock_.described());
}
bool ReentrantReadWriteLock::ReadLock::try_lock() { return lock_.try_read(caller_stack_pointer()); }
bool ReentrantReadWriteLock::ReadLock::try_lock(Deadline deadline) {
  return met(lock_.acquire_read(caller_stack_pointer(), deadline, Interruptible::Yes), "read",
             lock_.described());
}
void ReentrantReadWriteLock::ReadLock::unlock() { lock_.release_read(); }

void ReentrantReadWriteLock::WriteLock::lock() {
  lock_.acquire_write(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}
void ReentrantReadWriteLock::WriteLock::lock_interruptibly() {
  met(lock_.acquire_write(caller_stack_pointer(), Deadline::never(), Interruptible::Yes), "write",
      lock_.described());
}
bool ReentrantReadWriteLock::WriteLock::try_lock() { return lock_.try_write(caller_stack_pointer()); }
bool ReentrantReadWriteLock::WriteLock::try_lock(Deadline deadline) {
  return met(lock_.acquire_write(caller_stack_pointer(), deadline, Interruptible::Yes), "write",
             lock_.described());
}
void ReentrantReadWriteLock::WriteLock::unlock() { lock_.release_write(); }
bool ReentrantReadWriteLock::WriteLock::is_held_by_current_thread() const noexcept {
  return lock_.is_write_locked_by_current_thread();
}

void ReentrantReadWriteLock::lock() {
  acquire_write(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}
bool ReentrantReadWriteLock::try_lock() { return try_write(caller_stack_pointer()); }
bool ReentrantReadWriteLock::try_lock(Deadline deadline) {
  return met(acquire_write(caller_stack_pointer(), deadline, Interruptible::Yes), "write", described());
}
void ReentrantReadWriteLock::unlock() { release_write(); }
void ReentrantReadWriteLock::lock_shared() {
  acquire_read(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}
bool ReentrantReadWriteLock::try_lock_shared() { return try_read(caller_stack_pointer()); }
bool ReentrantReadWriteLock::try_lock_shared(Deadline deadline) {
  return met(acquire_read(caller_stack_pointer(), deadline, Interruptible::Yes), "read", described());
}
void ReentrantReadWriteLock::unlock_shared() { release_read(); }

}  // namespace creel
