#pragma once

#include <creel/runtime/error.hpp>

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace creel {

/// Why an expected failure happened: the value side of Result, cheap to pass along a channel.
struct Failure {
  ErrorCode code = ErrorCode::Failed;
  std::string message;
};

/// A value or the Failure that stands in its place, for failures that are data: a bad image, a bad request.
/// What ends the whole operation is thrown as Error instead.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Failure failure)
      : state_(std::in_place_index<1>, std::move(failure)) {}  // NOLINT: implicit on purpose

  explicit operator bool() const noexcept { return state_.index() == 0; }
  bool has_value() const noexcept { return state_.index() == 0; }

  /// The value; throws Error with the failure's code and message if there is none.
  T& value() & { return check(), std::get<0>(state_); }
  const T& value() const& { return check(), std::get<0>(state_); }
  T&& value() && { return check(), std::get<0>(std::move(state_)); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  /// The failure; only when there is no value.
  const Failure& failure() const { return std::get<1>(state_); }

 private:
  void check() const {
    if (!has_value()) throw Error(failure().message, failure().code);
  }

  std::variant<T, Failure> state_;
};

}  // namespace creel
