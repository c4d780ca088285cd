#pragma once

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/thread.hpp>

#include <string>
#include <utility>

namespace creel {

class Condition;

/// A mutual exclusion lock that its owner may take again; java.util.concurrent.locks.ReentrantLock.
///
///     creel::ReentrantLock lock{"queue"};
///     creel::Condition not_empty{lock};
///     std::scoped_lock guard{lock};
///     not_empty.await([&] { return !items.empty(); });
///
/// Fair locks are given to the longest waiting thread; others let a running thread go first, which is several
/// times faster under contention. try_lock() without a deadline takes a free lock even if it is fair and
/// others wait. *Lockable*, on platform and virtual threads alike. Unlocking a lock that the caller does not
/// hold throws Error, and so does a hold more than 2,147,483,647. Memory effects: what a thread did before
/// unlock() happens before what the next one does after its lock().
class ReentrantLock {
 public:
  enum class Fairness : bool { Unfair, Fair };

  /// The name stands in dumps; it may be empty.
  explicit ReentrantLock(std::string name = {}, Fairness fairness = Fairness::Unfair)
      : core_("creel::ReentrantLock", false, fairness == Fairness::Fair, std::move(name)) {}
  explicit ReentrantLock(Fairness fairness) : ReentrantLock({}, fairness) {}

  /// Waits as long as it takes; interrupt() does not end it.
  void lock();
  /// As lock(), but throws InterruptedError when interrupted before or while it waits.
  void lock_interruptibly();
  /// Takes the lock if it is free or the caller's own.
  bool try_lock();
  /// Waits until `deadline`; returns whether the lock was taken. Throws InterruptedError.
  bool try_lock(Deadline deadline);
  void unlock() { core_.unlock(); }

  /// A new condition of this lock: `creel::Condition not_empty = lock.condition();`
  Condition condition(std::string name = {});

  bool is_fair() const noexcept { return core_.is_fair(); }
  bool is_locked() const noexcept { return core_.is_locked(); }
  bool is_held_by_current_thread() const noexcept { return core_.is_held_by_current_thread(); }
  /// How often the calling thread holds it.
  std::uint32_t hold_count() const noexcept { return core_.hold_count(); }
  bool has_queued_threads() const noexcept { return core_.queue_length() > 0; }
  /// How many threads wait to take it, about: they come and go.
  std::uint32_t queue_length() const noexcept { return core_.queue_length(); }
  bool has_queued_thread(const Thread& thread) const noexcept;
  /// Who waits on a condition of this lock, which the caller must hold; Error if it does not, or if the
  /// condition is another lock's.
  bool has_waiters(const Condition& condition) const { return wait_queue_length(condition) > 0; }
  std::uint32_t wait_queue_length(const Condition& condition) const;
  /// The thread that holds it, as far as that can be said; an empty handle: none.
  Thread owner() const;
  std::string to_string() const;

 private:
  friend class Condition;
  detail::LockCore core_;
};

}  // namespace creel
