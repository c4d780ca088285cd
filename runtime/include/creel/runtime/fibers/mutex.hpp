#pragma once

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/fibers/time.hpp>

#include <chrono>

namespace creel::fibers {
namespace detail {

/// The four mutexes of Boost.Fiber over creel's lock: dumps show who holds them and who waits.
class MutexBase {
 protected:
  enum class Kind : bool { Plain, Recursive };
  MutexBase(const char* type, Kind kind) : core_(type, false, false, {}), kind_(kind) {}

 public:
  MutexBase(const MutexBase&) = delete;
  MutexBase& operator=(const MutexBase&) = delete;

  /// Waits as long as it takes; interrupt() does not end it. Throws lock_error
  /// (resource_deadlock_would_occur) if the calling thread holds it and it is not recursive.
  void lock();
  bool try_lock();
  /// Throws lock_error (operation_not_permitted) if the calling thread does not hold it.
  void unlock();

 protected:
  bool try_lock_before(Deadline deadline);

 private:
  void check_relock(const char* what) const;

  creel::detail::LockCore core_;
  Kind kind_;
};

class TimedMutexBase : public MutexBase {
 protected:
  using MutexBase::MutexBase;

 public:
  /// Waits until `when`; returns whether the mutex was taken. Throws InterruptedError.
  template <typename Clock, typename Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return try_lock_before(deadline_of(when));
  }
  template <typename Rep, typename Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
    return try_lock_before(Deadline(timeout));
  }
};

}  // namespace detail

class mutex : public detail::MutexBase {
 public:
  mutex() : MutexBase("creel::fibers::mutex", Kind::Plain) {}
};

class timed_mutex : public detail::TimedMutexBase {
 public:
  timed_mutex() : TimedMutexBase("creel::fibers::timed_mutex", Kind::Plain) {}
};

class recursive_mutex : public detail::MutexBase {
 public:
  recursive_mutex() : MutexBase("creel::fibers::recursive_mutex", Kind::Recursive) {}
};

class recursive_timed_mutex : public detail::TimedMutexBase {
 public:
  recursive_timed_mutex() : TimedMutexBase("creel::fibers::recursive_timed_mutex", Kind::Recursive) {}
};

}  // namespace creel::fibers
