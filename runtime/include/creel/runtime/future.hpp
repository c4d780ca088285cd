#pragma once

#include <creel/runtime/detail/future_state.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace creel {

/// The result of work that goes on elsewhere; java.util.concurrent.Future. A handle: copies name the same
/// result, which may be asked for as often as needed.
///
///     creel::Future<Cover> cover = pool->submit([&] { return decode_cover(path); });
///     if (!cover.wait(500ms)) …
///     const Cover& value = cover.get();
///
/// A thread that waits shows in dumps which thread does the work.
/// Memory effects: what the work did happens before get() or wait() returns.
template <typename T>
class Future {
 public:
  /// Empty: only assignment and operator bool are defined on it.
  Future() noexcept = default;
  explicit Future(std::shared_ptr<detail::FutureState<T>> state) noexcept : state_(std::move(state)) {}
  explicit operator bool() const noexcept { return state_ != nullptr; }

  /// Waits for the value. Rethrows what the work threw; throws CancelledError if it was cancelled,
  /// TimeoutError if `deadline` passes first, InterruptedError. The reference is good while a handle exists.
  std::add_lvalue_reference_t<T> get(Deadline deadline = {}) const& {
    state_->wait_for_value(deadline);
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  /// On a temporary handle, `pool->submit(…).get()`, the value is moved out.
  T get(Deadline deadline = {}) && {
    state_->wait_for_value(deadline);
    if constexpr (!std::is_void_v<T>) return std::move(state_->value());
  }

  /// Waits for the end, whatever it is. Returns false if `deadline` passes first. Throws InterruptedError.
  bool wait(Deadline deadline = {}) const { return state_->wait(deadline); }
  bool is_done() const noexcept { return state_->is_done(); }

  /// Ends it without a value, if it has not ended: work that has not begun never will; work that runs is
  /// interrupted if `interrupt` is set, else its result is thrown away. Returns whether it was cancelled by
  /// this call.
  bool cancel(bool interrupt = true) const { return state_->cancel(interrupt); }
  bool is_cancelled() const noexcept { return state_->is_cancelled(); }

 private:
  std::shared_ptr<detail::FutureState<T>> state_;
};

/// The other side of a Future, for results that come by other ways than an executor. Move-only; one that is
/// destroyed without a result fails its future.
template <typename T>
class Promise {
 public:
  Promise() : state_(std::make_shared<detail::FutureState<T>>()) {}
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
    if (state_ == nullptr || state_->is_done()) return;
    state_->fail(std::make_exception_ptr(Error("the promise was destroyed before it had a result")));
  }

  std::shared_ptr<detail::FutureState<T>> state_;
};

}  // namespace creel
