#pragma once

#include <creel/runtime/detail/future_state.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <cstdint>
#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

namespace creel {

/// Java's Future.State. to_string gives Java's spelling, "SUCCESS".
enum class FutureStatus : std::uint8_t { Running, Success, Failed, Cancelled };
std::string_view to_string(FutureStatus status) noexcept;

namespace detail {
FutureStatus status_of(const FutureCore& core) noexcept;
/// Waits for the end, then throws what stands in place of a value: what the work threw, without a
/// CompletionError around it, CancelledError, TimeoutError.
void wait_for_value(FutureCore& core, Deadline deadline, const char* type);
/// For result_now() and exception_now(): throw Error if it has not ended so.
void check_value_now(const FutureCore& core);
std::exception_ptr failure_now(const FutureCore& core);
}  // namespace detail

/// The result of work that goes on elsewhere; java.util.concurrent.Future. A handle: copies name the same
/// result, which may be asked for as often as needed.
///
///     creel::Future<Cover> cover = pool->submit([&] { return decode_cover(path); });
///     if (!cover.wait(500ms)) …
///     const Cover& value = cover.get();
///
/// A thread that waits shows in dumps which thread does the work. A platform thread looks for the result for
/// some microseconds before it sleeps. What shall happen with the result can also be said beforehand: see
/// CompletableFuture, which a Future converts to.
/// Memory effects: what the work did happens before get() or wait() returns, and before is_done() is seen
/// true.
template <typename T>
class Future {
 public:
  using value_type = T;

  /// Empty: only assignment and operator bool are defined on it.
  Future() noexcept = default;
  explicit Future(detail::HandleRef<detail::FutureState<T>> state) noexcept : state_(std::move(state)) {}
  explicit operator bool() const noexcept { return static_cast<bool>(state_); }

  /// Waits for the value. Rethrows what the work threw; throws CancelledError if it was cancelled,
  /// TimeoutError if `deadline` passes first (the work goes on), InterruptedError unless it is done already.
  /// The reference is good while a handle exists.
  std::add_lvalue_reference_t<T> get(Deadline deadline = {}) const& {
    detail::wait_for_value(*state_, deadline, kType);
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  /// On a temporary handle, `pool->submit(…).get()`, the value is moved out if this is the last one (copied
  /// if not; a value that cannot be copied is always moved).
  T get(Deadline deadline = {}) && {
    detail::wait_for_value(*state_, deadline, kType);
    if constexpr (!std::is_void_v<T>) return state_->take_value();
  }

  /// Waits for the end, whatever it is. Returns false if `deadline` passes first. Throws InterruptedError.
  bool wait(Deadline deadline = {}) const { return state_->wait(deadline, kType); }
  bool is_done() const noexcept { return state_->is_done(); }
  FutureStatus state() const noexcept { return detail::status_of(*state_); }
  /// The value of a future that is known to have one: does not wait. Throws Error if there is none.
  std::add_lvalue_reference_t<T> result_now() const& {
    detail::check_value_now(*state_);
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  /// What the work threw, if it is known to have failed: does not wait. Throws Error if it has not.
  std::exception_ptr exception_now() const { return detail::failure_now(*state_); }

  /// Ends it without a value, if it has not ended: work that has not begun never will; work that runs is
  /// interrupted if `interrupt` is set, else its result is thrown away. Returns whether it was cancelled by
  /// this call.
  bool cancel(bool interrupt = true) const { return state_->cancel(interrupt); }
  bool is_cancelled() const noexcept { return state_->is_cancelled(); }

  /// For the runtime's own parts.
  const detail::HandleRef<detail::FutureState<T>>& shared_state() const noexcept { return state_; }

 private:
  static constexpr const char* kType = "creel::Future";
  detail::HandleRef<detail::FutureState<T>> state_;
};

/// The other side of a Future, for results that come by other ways than an executor. Move-only; one that is
/// destroyed without a result fails its future.
template <typename T>
class Promise {
 public:
  Promise() : state_(new detail::FutureState<T>()) {}
  Promise(Promise&&) noexcept = default;
  Promise& operator=(Promise&& other) noexcept {
    abandon();
    state_ = std::move(other.state_);
    return *this;
  }
  ~Promise() { abandon(); }

  Future<T> future() const { return Future<T>(state_); }

  /// Declares that `thread` is the one that will complete it: dumps show it to those who wait, and a deadlock
  /// in which it takes part is found. To be called again if the work moves to another thread.
  void produced_by(const Thread& thread) noexcept { state_->set_producer(thread.id()); }

  /// Sets the value (of a Promise<void>: nothing) unless there is a result already or the future was
  /// cancelled; returns whether it did.
  template <typename... Value>
  bool set_value(Value&&... value) {
    return state_->set(std::forward<Value>(value)...);
  }
  bool set_exception(std::exception_ptr exception) noexcept { return state_->fail(std::move(exception)); }
  bool is_cancelled() const noexcept { return state_->is_cancelled(); }

 private:
  void abandon() noexcept {
    if (!state_ || state_->is_done()) return;
    state_->fail(std::make_exception_ptr(Error("the promise was destroyed before it had a result")));
  }

  // A handle: as long as the promise may give out further futures, nobody takes the value away.
  detail::HandleRef<detail::FutureState<T>> state_;
};

}  // namespace creel
