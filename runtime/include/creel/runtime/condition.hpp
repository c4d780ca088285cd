#pragma once

#include <creel/runtime/reentrant_lock.hpp>

#include <concepts>
#include <string>
#include <utility>

namespace creel {

/// Where threads that hold a ReentrantLock wait for each other; java.util.concurrent.locks.Condition. A lock
/// has as many as it needs. All calls need the lock held and throw Error if it is not.
///
/// Order: notified threads go on in the order in which they came, once the lock is free.
class Condition {
 public:
  /// `lock` must outlive it. The name stands in dumps; it may be empty.
  explicit Condition(ReentrantLock& lock, std::string name = {})
      : Condition(lock, "creel::Condition", std::move(name), nullptr) {}
  /// A condition that dumps show as its `owner`, an object of `type` (a static string): a queue, a channel.
  Condition(ReentrantLock& lock, const char* type, std::string name, const void* owner)
      : lock_(lock), type_(type), owner_(owner), name_(std::move(name)) {}
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  /// Gives up the lock, however often taken, until notified, and takes it again. Returns false if `deadline`
  /// passed first. May return true for no reason: wait in a loop, or give a predicate. Throws
  /// InterruptedError.
  bool await(Deadline deadline = {});
  /// Waits until `predicate()` is true; returns its last value. Throws InterruptedError.
  template <std::predicate Predicate>
  bool await(Predicate predicate, Deadline deadline = {}) {
    while (!predicate()) {
      if (!await(deadline)) return predicate();
    }
    return true;
  }
  /// As await(), but interrupt() does not end it; the interrupt flag is kept.
  void await_uninterruptibly();

  /// Lets the longest waiting thread go on, once the lock is free.
  void signal() { lock_.core_.notify_one(waiters_); }
  void signal_all() { lock_.core_.notify_all(waiters_); }

 private:
  detail::WaitOutcome wait(Deadline deadline, detail::Interruptible interruptible);

  ReentrantLock& lock_;
  const char* type_;
  const void* owner_;
  std::string name_;
  detail::ConditionList waiters_;
};

}  // namespace creel
