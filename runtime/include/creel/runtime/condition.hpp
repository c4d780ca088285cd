#pragma once

#include <creel/runtime/reentrant_lock.hpp>

#include <concepts>
#include <string>
#include <utility>

namespace creel {

struct Blocker;
class WakerSet;

namespace detail {

/// The lock under a Condition: what a condition needs of it, whichever kind it is.
struct ConditionLock {
  struct Operations {
    WaitOutcome (*wait)(void* lock, ConditionList& list, const Blocker& blocker, Deadline deadline,
                        Interruptible interruptible);
    void (*notify_one)(void* lock, ConditionList& list);
    void (*check_owner)(const void* lock, const char* operation);
  };
  void* lock;
  const Operations* operations;
};

}  // namespace detail

/// Where threads that hold a ReentrantLock, or the write side of a ReentrantReadWriteLock, wait for each
/// other; java.util.concurrent.locks.Condition. A lock has as many as it needs. All calls need the lock held
/// and throw Error if it is not.
///
/// Order: notified threads go on in the order in which they came, once the lock is free.
class Condition {
 public:
  /// `lock` must outlive it. The name stands in dumps; it may be empty.
  explicit Condition(ReentrantLock& lock, std::string name = {})
      : Condition(lock, "creel::Condition", std::move(name), nullptr) {}
  /// A condition that dumps show as its `owner`, an object of `type` (a static string): a queue, a channel.
  /// `wakers`, if not null, are the threads that signal it, for the search for deadlocks.
  Condition(ReentrantLock& lock, const char* type, std::string name, const void* owner,
            const WakerSet* wakers = nullptr);
  /// `Condition changed{read_write_lock.write_lock()};`
  explicit Condition(detail::ConditionLock lock, std::string name = {})
      : lock_(lock), type_("creel::Condition"), owner_(nullptr), name_(std::move(name)) {}
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

  /// Lets the longest waiting thread go on, once the lock is free. Signalled threads stand in the lock's
  /// queue in the order of the signals.
  void signal() { lock_.operations->notify_one(lock_.lock, waiters_); }
  void signal_all();

 private:
  friend class ReentrantLock;
  friend class ReentrantReadWriteLock;
  detail::WaitOutcome wait(Deadline deadline, detail::Interruptible interruptible);
  /// How many wait; the caller holds the lock. Throws Error if the condition is not one of `lock`.
  std::uint32_t waiters_of(const void* lock) const;

  detail::ConditionLock lock_;
  const char* type_;
  const void* owner_;
  const WakerSet* wakers_ = nullptr;
  std::string name_;
  detail::ConditionList waiters_;
};

}  // namespace creel
