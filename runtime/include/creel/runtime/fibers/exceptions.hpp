#pragma once

#include <string>
#include <system_error>
#include <type_traits>

// The errors of Boost.Fiber's API: standard ones, since code that was written for it catches those.

namespace creel::fibers {

class fiber_error : public std::system_error {
 public:
  using std::system_error::system_error;
};

/// A mutex is used by a thread in a way that its state does not allow.
class lock_error : public fiber_error {
 public:
  using fiber_error::fiber_error;
};

enum class future_errc {
  broken_promise = 1,
  future_already_retrieved,
  promise_already_satisfied,
  no_state,
};

const std::error_category& future_category() noexcept;
inline std::error_code make_error_code(future_errc code) noexcept {
  return {static_cast<int>(code), future_category()};
}
inline std::error_condition make_error_condition(future_errc code) noexcept {
  return {static_cast<int>(code), future_category()};
}

}  // namespace creel::fibers

template <>
struct std::is_error_code_enum<creel::fibers::future_errc> : std::true_type {};

namespace creel::fibers {

class future_error : public fiber_error {
 public:
  using fiber_error::fiber_error;
};

class future_uninitialized : public future_error {
 public:
  future_uninitialized() : future_error(make_error_code(future_errc::no_state)) {}
};

class future_already_retrieved : public future_error {
 public:
  future_already_retrieved() : future_error(make_error_code(future_errc::future_already_retrieved)) {}
};

class broken_promise : public future_error {
 public:
  broken_promise() : future_error(make_error_code(future_errc::broken_promise)) {}
};

class promise_already_satisfied : public future_error {
 public:
  promise_already_satisfied() : future_error(make_error_code(future_errc::promise_already_satisfied)) {}
};

class promise_uninitialized : public future_error {
 public:
  promise_uninitialized() : future_error(make_error_code(future_errc::no_state)) {}
};

class packaged_task_uninitialized : public future_error {
 public:
  packaged_task_uninitialized() : future_error(make_error_code(future_errc::no_state)) {}
};

}  // namespace creel::fibers
