#pragma once

#include <creel/runtime/detail/lock_core.hpp>

#include <concepts>
#include <mutex>
#include <string>
#include <utility>

namespace creel {

/// What every Java object is: a reentrant lock with one condition, `synchronized`, `wait` and `notify`. A
/// thread that waits to enter is BLOCKED in dumps, which show who holds the monitor.
///
///     creel::Monitor accounts{"accounts"};
///     creel::synchronized(accounts, [&] { ++balance; accounts.notify_all(); });
///     …
///     std::unique_lock guard{accounts};
///     if (!accounts.wait([&] { return balance > 0; }, 2s)) report_poverty();
///
/// Lockable and TimedLockable by Deadline, on platform and virtual threads alike. Not fair: a thread that
/// comes by may enter before those that wait. The wait() family needs the monitor held and throws Error if it
/// is not. Memory effects: what a thread did before unlock() happens before what the next one does after its
/// lock().
class Monitor {
 public:
  /// The name stands in dumps; it may be empty.
  explicit Monitor(std::string name = {}) : core_("creel::Monitor", true, false, std::move(name)) {}

  /// Waits as long as it takes; interrupt() does not end it.
  void lock();
  /// Takes the monitor if it is free or the caller's own.
  bool try_lock();
  /// Waits until `deadline`; returns whether the monitor was taken. Throws InterruptedError.
  bool try_lock(Deadline deadline);
  void unlock() { core_.unlock(); }

  /// Leaves the monitor, however often entered, until notified, and enters again. Returns false if `deadline`
  /// passed first. May return true for no reason: wait in a loop, or give a predicate. Throws
  /// InterruptedError.
  bool wait(Deadline deadline = {});
  /// Waits until `predicate()` is true; returns its last value. Throws InterruptedError.
  template <std::predicate Predicate>
  bool wait(Predicate predicate, Deadline deadline = {}) {
    while (!predicate()) {
      if (!wait(deadline)) return predicate();
    }
    return true;
  }
  /// Lets the longest waiting thread go on, once the monitor is free.
  void notify_one() { core_.notify_one(waiters_); }
  void notify_all() { core_.notify_all(waiters_); }

  bool is_held_by_current_thread() const noexcept { return core_.is_held_by_current_thread(); }

 private:
  detail::LockCore core_;
  detail::ConditionList waiters_;
};

/// Calls `body` inside `monitor` and returns what it returns: Java's synchronized block.
template <typename Body>
decltype(auto) synchronized(Monitor& monitor, Body&& body) {
  const std::lock_guard guard{monitor};
  return std::forward<Body>(body)();
}

}  // namespace creel
