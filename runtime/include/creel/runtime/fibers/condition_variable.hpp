#pragma once

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/fibers/mutex.hpp>
#include <creel/runtime/fibers/time.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <mutex>

namespace creel::fibers {

enum class cv_status { no_timeout = 1, timeout };

/// Waits with any BasicLockable. Waiting threads go on in the order in which they came.
class condition_variable_any {
 public:
  condition_variable_any() : condition_variable_any("creel::fibers::condition_variable_any") {}
  condition_variable_any(const condition_variable_any&) = delete;
  condition_variable_any& operator=(const condition_variable_any&) = delete;

  /// The caller need not hold the lock that the waiting threads gave up.
  void notify_one() noexcept;
  void notify_all() noexcept;

  /// Gives `lock` up until notified, and takes it again. May return for no reason. Throws InterruptedError,
  /// with `lock` taken again.
  template <typename Lock>
  void wait(Lock& lock) {
    wait_before(lock, Deadline::never());
  }
  template <typename Lock, std::predicate Predicate>
  void wait(Lock& lock, Predicate predicate) {
    while (!predicate()) wait(lock);
  }

  template <typename Lock, typename Clock, typename Duration>
  cv_status wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when) {
    return wait_before(lock, detail::deadline_of(when));
  }
  template <typename Lock, typename Clock, typename Duration, std::predicate Predicate>
  bool wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when, Predicate predicate) {
    return wait_before(lock, detail::deadline_of(when), predicate);
  }
  template <typename Lock, typename Rep, typename Period>
  cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& timeout) {
    return wait_before(lock, Deadline(timeout));
  }
  template <typename Lock, typename Rep, typename Period, std::predicate Predicate>
  bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& timeout, Predicate predicate) {
    return wait_before(lock, Deadline(timeout), predicate);
  }

 protected:
  explicit condition_variable_any(const char* type)
      : core_("creel::fibers::condition_variable (inner lock)", false, false, {}), type_(type) {}

 private:
  using Outcome = creel::detail::WaitOutcome;

  template <typename Lock>
  cv_status wait_before(Lock& lock, Deadline deadline) {
    Outcome outcome;
    {
      const Inner inner{*this};
      lock.unlock();  // a notify from now on comes after this thread is in the list: it needs the inner lock
      outcome = wait_inside(deadline);
    }
    lock.lock();
    if (outcome == Outcome::Interrupted) throw_interrupted();
    return outcome == Outcome::TimedOut ? cv_status::timeout : cv_status::no_timeout;
  }
  template <typename Lock, typename Predicate>
  bool wait_before(Lock& lock, Deadline deadline, Predicate& predicate) {
    while (!predicate()) {
      if (wait_before(lock, deadline) == cv_status::timeout) return predicate();
    }
    return true;
  }

  /// Holds the lock over the list of waiters.
  class Inner {
   public:
    explicit Inner(condition_variable_any& condition);
    ~Inner();
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;

   private:
    condition_variable_any& condition_;
  };
  Outcome wait_inside(Deadline deadline);
  [[noreturn]] void throw_interrupted() const;

  creel::detail::LockCore core_;
  creel::detail::ConditionList waiters_;
  const char* type_;
};

/// Waits with a std::unique_lock<mutex>; see condition_variable_any.
///
///     fibers::mutex mutex;
///     fibers::condition_variable ready;
///     std::unique_lock lock{mutex};
///     ready.wait(lock, [&] { return is_ready; });
class condition_variable : private condition_variable_any {
 public:
  condition_variable() : condition_variable_any("creel::fibers::condition_variable") {}

  using condition_variable_any::notify_all;
  using condition_variable_any::notify_one;

  void wait(std::unique_lock<mutex>& lock) { condition_variable_any::wait(lock); }
  template <std::predicate Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate predicate) {
    condition_variable_any::wait(lock, predicate);
  }
  template <typename Time, typename... Predicate>
  auto wait_until(std::unique_lock<mutex>& lock, const Time& when, Predicate... predicate) {
    return condition_variable_any::wait_until(lock, when, predicate...);
  }
  template <typename Duration, typename... Predicate>
  auto wait_for(std::unique_lock<mutex>& lock, const Duration& timeout, Predicate... predicate) {
    return condition_variable_any::wait_for(lock, timeout, predicate...);
  }
};

/// Lets a number of fibers wait until all of them have come, again and again.
class barrier {
 public:
  /// Throws fiber_error (invalid_argument) if `initial` is 0.
  explicit barrier(std::size_t initial);
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  /// True for the one that came last. Throws InterruptedError; the thread then counts as one that has not
  /// come, unless the others have gone on already.
  bool wait();

 private:
  const std::size_t initial_;
  mutex mutex_;
  condition_variable all_here_;
  std::size_t missing_;
  std::size_t cycle_ = 0;
};

}  // namespace creel::fibers
