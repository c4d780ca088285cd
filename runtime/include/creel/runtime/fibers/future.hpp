#pragma once

#include <creel/runtime/detail/future_state.hpp>
#include <creel/runtime/fibers/exceptions.hpp>
#include <creel/runtime/fibers/fiber.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace creel::fibers {

enum class future_status { ready = 1, timeout, deferred };

template <typename R>
class shared_future;

namespace detail {

/// A reference is kept as a pointer.
template <typename R>
using Stored = std::conditional_t<std::is_reference_v<R>, std::remove_reference_t<R>*, R>;
template <typename R>
using State = creel::detail::FutureState<Stored<R>>;
template <typename R>
using StateHandle = creel::detail::HandleRef<State<R>>;

/// Waits, then throws what the work threw. Throws future_uninitialized without a state.
void wait_for_value(creel::detail::FutureCore* state);
future_status wait_for_end(creel::detail::FutureCore* state, Deadline deadline);
/// The calling thread is going to complete it.
void declare_producer(creel::detail::FutureCore& state);

/// What future and shared_future have in common.
template <typename R>
class FutureBase {
 public:
  FutureBase() noexcept = default;
  explicit FutureBase(StateHandle<R> state) noexcept : state_(std::move(state)) {}

  bool valid() const noexcept { return static_cast<bool>(state_); }
  /// All that wait throw InterruptedError, and future_uninitialized if !valid().
  void wait() const { wait_for_end(state_.get(), Deadline::never()); }
  template <typename Rep, typename Period>
  future_status wait_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return wait_for_end(state_.get(), Deadline(timeout));
  }
  template <typename Clock, typename Duration>
  future_status wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return wait_for_end(state_.get(), deadline_of(when));
  }
  /// Waits for the end; what the work threw, nullptr if it has a value.
  std::exception_ptr get_exception_ptr() const {
    wait();
    return state_->failure();
  }

 protected:
  StateHandle<R> state_;
};

}  // namespace detail

/// boost::fibers::future: get() may be called once. Dumps show a thread that waits for it with the fiber that
/// is going to complete it, if async() or a packaged_task does.
template <typename R>
class future : public detail::FutureBase<R> {
  using Base = detail::FutureBase<R>;

 public:
  future() noexcept = default;
  explicit future(detail::StateHandle<R> state) noexcept : Base(std::move(state)) {}
  future(future&&) noexcept = default;
  future& operator=(future&&) noexcept = default;

  /// Waits for the value, and leaves the future without a state. Throws what the work threw.
  R get() {
    this->wait();
    const detail::StateHandle<R> state = std::move(this->state_);
    detail::wait_for_value(state.get());
    if constexpr (std::is_reference_v<R>) {
      return *state->value();
    } else if constexpr (!std::is_void_v<R>) {
      return std::move(state->value());
    }
  }
  shared_future<R> share() {
    if (!this->valid()) throw future_uninitialized();
    return shared_future<R>(std::move(*this));
  }

 private:
  friend class shared_future<R>;
};

template <typename R>
class shared_future : public detail::FutureBase<R> {
  using Base = detail::FutureBase<R>;

 public:
  shared_future() noexcept = default;
  shared_future(future<R>&& other) noexcept
      : Base(std::move(other.state_)) {}  // NOLINT: implicit, as Boost's

  std::conditional_t<std::is_reference_v<R> || std::is_void_v<R>, R, std::add_lvalue_reference_t<const R>>
  get() const {
    detail::wait_for_value(this->state_.get());
    if constexpr (std::is_reference_v<R>) {
      return *this->state_->value();
    } else if constexpr (!std::is_void_v<R>) {
      return this->state_->value();
    }
  }
};

template <typename R>
class promise {
 public:
  promise() : state_(new detail::State<R>()) {}
  promise(promise&& other) noexcept { swap(other); }
  promise& operator=(promise&& other) noexcept {
    promise(std::move(other)).swap(*this);
    return *this;
  }
  /// A future without a result gets broken_promise.
  ~promise() {
    if (state_) state_->fail(std::make_exception_ptr(broken_promise()));
  }

  void swap(promise& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(obtained_, other.obtained_);
  }
  friend void swap(promise& a, promise& b) noexcept { a.swap(b); }

  /// Throws future_already_retrieved the second time.
  future<R> get_future() {
    if (obtained_) throw future_already_retrieved();
    state();
    obtained_ = true;
    return future<R>(state_);
  }
  /// Throws promise_already_satisfied if there is a result; so does set_exception(). `set_value({…})` is one.
  template <typename Value = R>
  void set_value(Value&& value) requires(!std::is_void_v<R>) {
    bool was_set;
    if constexpr (std::is_reference_v<R>) {
      was_set = state().set(std::addressof(value));
    } else {
      was_set = state().set(std::forward<Value>(value));
    }
    if (!was_set) throw promise_already_satisfied();
  }
  void set_value() requires std::is_void_v<R> {
    if (!state().set()) throw promise_already_satisfied();
  }
  /// Tells dumps, and the search for deadlocks, that the calling thread is going to set it.
  void declare_producer() { detail::declare_producer(state()); }
  void set_exception(std::exception_ptr exception) {
    if (!state().fail(std::move(exception))) throw promise_already_satisfied();
  }

 private:
  detail::State<R>& state() const {
    if (!state_) throw promise_uninitialized();
    return *state_;
  }

  detail::StateHandle<R> state_;
  bool obtained_ = false;
};

template <typename Signature>
class packaged_task;

/// A callable whose result a future gets.
template <typename R, typename... Arguments>
class packaged_task<R(Arguments...)> {
 public:
  packaged_task() noexcept = default;
  template <typename Function>
  requires detail::NoneOf<Function, packaged_task>
  explicit packaged_task(Function&& function)
      : function_(std::make_unique<Holder<std::decay_t<Function>>>(std::forward<Function>(function))),
        promise_(std::make_unique<promise<R>>()) {}

  void swap(packaged_task& other) noexcept {
    function_.swap(other.function_);
    promise_.swap(other.promise_);
  }
  friend void swap(packaged_task& a, packaged_task& b) noexcept { a.swap(b); }

  bool valid() const noexcept { return function_ != nullptr; }
  /// Throws future_already_retrieved the second time, packaged_task_uninitialized if !valid().
  future<R> get_future() {
    check();
    return promise_->get_future();
  }
  /// Throws promise_already_satisfied if it was called before; what the callable throws the future gets.
  void operator()(Arguments... arguments) {
    check();
    promise_->declare_producer();
    try {
      if constexpr (std::is_void_v<R>) {
        function_->call(std::forward<Arguments>(arguments)...);
        promise_->set_value();
      } else {
        promise_->set_value(function_->call(std::forward<Arguments>(arguments)...));
      }
    } catch (const promise_already_satisfied&) {
      throw;
    } catch (...) {
      promise_->set_exception(std::current_exception());
    }
  }
  /// As new, with the same callable.
  void reset() {
    check();
    promise_ = std::make_unique<promise<R>>();
  }

 private:
  struct Callable {
    virtual ~Callable() = default;
    virtual R call(Arguments... arguments) = 0;
  };
  template <typename Function>
  struct Holder final : Callable {
    template <typename From>
    explicit Holder(From&& from) : function(std::forward<From>(from)) {}
    R call(Arguments... arguments) override {
      return std::invoke(function, std::forward<Arguments>(arguments)...);
    }
    Function function;
  };
  void check() const {
    if (!valid()) throw packaged_task_uninitialized();
  }

  std::unique_ptr<Callable> function_;
  std::unique_ptr<promise<R>> promise_;
};

/// Calls a copy of `function` with copies of `arguments` on a new fiber of its own.
template <detail::StackAllocator Stack, typename Function, typename... Arguments>
auto async(launch policy, std::allocator_arg_t, Stack&& stack, Function&& function,
           Arguments&&... arguments) {
  using R = std::invoke_result_t<std::decay_t<Function>, std::decay_t<Arguments>...>;
  packaged_task<R()> task(
      detail::bind_once(std::forward<Function>(function), std::forward<Arguments>(arguments)...));
  future<R> result = task.get_future();
  fiber(policy, std::allocator_arg, stack, std::move(task)).detach();
  return result;
}
template <typename Function, typename... Arguments>
requires detail::NoneOf<Function, std::allocator_arg_t>
auto async(launch policy, Function&& function, Arguments&&... arguments) {
  return async(policy, std::allocator_arg, default_stack(), std::forward<Function>(function),
               std::forward<Arguments>(arguments)...);
}
template <typename Function, typename... Arguments>
requires detail::NoneOf<Function, launch>
auto async(Function&& function, Arguments&&... arguments) {
  return async(launch::post, std::forward<Function>(function), std::forward<Arguments>(arguments)...);
}

}  // namespace creel::fibers
