#pragma once

#include <creel/runtime/detail/completion_stages.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/executor.hpp>
#include <creel/runtime/future.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <ranges>
#include <source_location>
#include <type_traits>
#include <utility>

namespace creel {

namespace executors {
Executor& common_pool();
}

/// What a stage failed with whose function threw, or that comes after one that failed;
/// java.util.concurrent.CompletionException. cause() is what was thrown first.
class CompletionError : public Error {
 public:
  explicit CompletionError(std::exception_ptr cause,
                           std::source_location where = std::source_location::current());
  const std::exception_ptr& cause() const noexcept { return cause_; }
  /// The cause if `exception` is a CompletionError, else `exception` itself.
  static std::exception_ptr unwrap(const std::exception_ptr& exception);

 private:
  std::exception_ptr cause_;
};

template <typename T>
class CompletableFuture;

namespace detail {

template <typename T>
struct StageValue;  // T of a CompletableFuture<T>, what then_compose's function returns
template <typename T>
struct StageValue<CompletableFuture<T>> {
  using Type = T;
};

// void, but not before T is known: CompletableFuture<void> is not complete where CompletionStage is defined.
template <typename T>
struct VoidFor {
  using Type = void;
};

/// Calls `action` at `deadline` unless `future` has ended by then.
void at_deadline(FutureCore& future, Deadline deadline, Task action);
std::exception_ptr timeout_failure();
/// For complete_exceptionally(): a CancelledError cancels.
bool complete_exceptionally(FutureCore& future, const std::exception_ptr& exception) noexcept;

}  // namespace detail

/// What can be said beforehand about a result: what is to happen with it; java.util.concurrent.
/// CompletionStage. CompletableFuture adds the means to complete it and to wait for it.
///
///     creel::supply_async([&] { return fetch(url); })
///         .then_apply([](const Page& page) { return title_of(page); })
///         .exceptionally([](std::exception_ptr) { return std::string("?"); })
///         .then_accept([](const std::string& title) { show(title); });
///
/// A function gets the value as const T& (nothing if T is void); one that only takes T&&, such as a
/// unique_ptr by value, gets it moved and must then be the only one. It runs on the thread that completes the
/// stage before it, or at once on the calling one if that is done already; those given to the _async forms
/// run as tasks of `executor`, by default the common pool. It should not block in the plain forms. A chain
/// may be of any length: dependents do not run inside each other. They go on in the order in which they were
/// attached.
///
/// If the function throws, its stage fails with CompletionError(what it threw). If a stage fails, those after
/// it fail with the same CompletionError, without their functions being called, up to one that handles
/// failures. Cancelling or completing a stage does not touch those before it. A future that nobody can
/// complete any more (its last handle is gone) fails its dependents with Error.
/// Memory effects: what happened before a stage was completed happens before the functions after it.
template <typename T>
class CompletionStage {
 public:
  using value_type = T;
  /// CompletableFuture<void>.
  using Action = CompletableFuture<typename detail::VoidFor<T>::Type>;

  /// A stage with what `function(value)` returns.
  template <typename F>
  auto then_apply(F function) const {
    return apply(std::move(function), ExecutorRef());
  }
  template <typename F>
  auto then_apply_async(F function, ExecutorRef executor = executors::common_pool()) const {
    return apply(std::move(function), std::move(executor));
  }
  /// As then_apply, for functions that return nothing (what they return is dropped).
  template <typename F>
  Action then_accept(F function) const {
    return accept(std::move(function), ExecutorRef());
  }
  template <typename F>
  Action then_accept_async(F function, ExecutorRef executor = executors::common_pool()) const {
    return accept(std::move(function), std::move(executor));
  }
  /// Calls `action()` once there is a value, whichever.
  template <std::invocable F>
  Action then_run(F action) const {
    return run(std::move(action), ExecutorRef());
  }
  template <std::invocable F>
  Action then_run_async(F action, ExecutorRef executor = executors::common_pool()) const {
    return run(std::move(action), std::move(executor));
  }

  /// `function(value)` returns a CompletableFuture; the stage ends as that one does.
  template <typename F>
  auto then_compose(F function) const {
    return compose(std::move(function), ExecutorRef());
  }
  template <typename F>
  auto then_compose_async(F function, ExecutorRef executor = executors::common_pool()) const {
    return compose(std::move(function), std::move(executor));
  }

  /// When both have values: `function(value, other's value)`. If one fails the stage does, after both ended.
  template <typename U, typename F>
  auto then_combine(const CompletionStage<U>& other, F function) const {
    return combine(other, std::move(function), ExecutorRef());
  }
  template <typename U, typename F>
  auto then_combine_async(const CompletionStage<U>& other, F function,
                          ExecutorRef executor = executors::common_pool()) const {
    return combine(other, std::move(function), std::move(executor));
  }
  template <typename U, typename F>
  Action then_accept_both(const CompletionStage<U>& other, F function) const {
    return combine(other, discard(std::move(function)), ExecutorRef());
  }
  template <typename U, typename F>
  Action then_accept_both_async(const CompletionStage<U>& other, F function,
                                ExecutorRef executor = executors::common_pool()) const {
    return combine(other, discard(std::move(function)), std::move(executor));
  }
  template <typename U, std::invocable F>
  Action run_after_both(const CompletionStage<U>& other, F action) const {
    return run_both(other, std::move(action), ExecutorRef());
  }
  template <typename U, std::invocable F>
  Action run_after_both_async(const CompletionStage<U>& other, F action,
                              ExecutorRef executor = executors::common_pool()) const {
    return run_both(other, std::move(action), std::move(executor));
  }

  /// When the first of the two has ended: `function(its value)`. If that one failed, so does the stage.
  template <typename F>
  auto apply_to_either(const CompletionStage& other, F function) const {
    return first_of(other).then_apply(std::move(function));
  }
  template <typename F>
  auto apply_to_either_async(const CompletionStage& other, F function,
                             ExecutorRef executor = executors::common_pool()) const {
    return first_of(other).then_apply_async(std::move(function), std::move(executor));
  }
  template <typename F>
  Action accept_either(const CompletionStage& other, F function) const {
    return first_of(other).then_accept(std::move(function));
  }
  template <typename F>
  Action accept_either_async(const CompletionStage& other, F function,
                             ExecutorRef executor = executors::common_pool()) const {
    return first_of(other).then_accept_async(std::move(function), std::move(executor));
  }
  template <typename U, std::invocable F>
  Action run_after_either(const CompletionStage<U>& other, F action) const {
    return first_of_any(other).then_run(std::move(action));
  }
  template <typename U, std::invocable F>
  Action run_after_either_async(const CompletionStage<U>& other, F action,
                                ExecutorRef executor = executors::common_pool()) const {
    return first_of_any(other).then_run_async(std::move(action), std::move(executor));
  }

  /// The same value; if there is none, what `function(std::exception_ptr)` returns. For a stage after one
  /// that failed the exception is a CompletionError: see CompletionError::unwrap.
  template <std::invocable<std::exception_ptr> F>
  CompletableFuture<T> exceptionally(F function) const {
    return recover(std::move(function), ExecutorRef());
  }
  template <std::invocable<std::exception_ptr> F>
  CompletableFuture<T> exceptionally_async(F function,
                                           ExecutorRef executor = executors::common_pool()) const {
    return recover(std::move(function), std::move(executor));
  }
  /// As exceptionally, but the function returns a CompletableFuture<T>.
  template <std::invocable<std::exception_ptr> F>
  CompletableFuture<T> exceptionally_compose(F function) const {
    return recover_by(std::move(function), ExecutorRef());
  }
  template <std::invocable<std::exception_ptr> F>
  CompletableFuture<T> exceptionally_compose_async(F function,
                                                   ExecutorRef executor = executors::common_pool()) const {
    return recover_by(std::move(function), std::move(executor));
  }

  /// Value or failure: what `function(const T* value, std::exception_ptr failure)` returns; one of the two is
  /// null. For void: `function(std::exception_ptr)`, null if it went well.
  template <typename F>
  auto handle(F function) const {
    return handle_with(std::move(function), ExecutorRef());
  }
  template <typename F>
  auto handle_async(F function, ExecutorRef executor = executors::common_pool()) const {
    return handle_with(std::move(function), std::move(executor));
  }
  /// The same outcome, once a function as of handle() has seen it. What that throws becomes the outcome,
  /// unless there is a failure already.
  template <typename F>
  CompletableFuture<T> when_complete(F function) const {
    return observe(std::move(function), ExecutorRef());
  }
  template <typename F>
  CompletableFuture<T> when_complete_async(F function,
                                           ExecutorRef executor = executors::common_pool()) const {
    return observe(std::move(function), std::move(executor));
  }

  /// A future that ends as this stage does: this one itself, of a CompletableFuture.
  CompletableFuture<T> to_completable_future() const;

  /// For the runtime's own parts.
  detail::FutureState<T>& shared_state() const noexcept { return *state_; }

 protected:
  explicit CompletionStage(detail::HandleRef<detail::FutureState<T>> state) noexcept
      : state_(std::move(state)) {}

  detail::HandleRef<detail::FutureState<T>> state_;

 private:
  template <typename>
  friend class CompletionStage;
  template <typename>
  friend class CompletableFuture;

  template <typename R, typename Body>
  CompletableFuture<R> after(Body body, ExecutorRef executor) const;
  template <typename F>
  auto apply(F function, ExecutorRef executor) const;
  template <typename F>
  CompletableFuture<void> accept(F function, ExecutorRef executor) const;
  template <typename F>
  CompletableFuture<void> run(F action, ExecutorRef executor) const;
  template <typename F>
  auto compose(F function, ExecutorRef executor) const;
  template <typename U, typename F>
  auto combine(const CompletionStage<U>& other, F function, ExecutorRef executor) const;
  template <typename U, typename F>
  CompletableFuture<void> run_both(const CompletionStage<U>& other, F action, ExecutorRef executor) const;
  template <typename F>
  CompletableFuture<T> recover(F function, ExecutorRef executor) const;
  template <typename F>
  CompletableFuture<T> recover_by(F function, ExecutorRef executor) const;
  template <typename F>
  auto handle_with(F function, ExecutorRef executor) const;
  template <typename F>
  CompletableFuture<T> observe(F function, ExecutorRef executor) const;
  CompletableFuture<T> first_of(const CompletionStage& other) const;
  template <typename U>
  CompletableFuture<void> first_of_any(const CompletionStage<U>& other) const;
  template <typename F>
  static auto discard(F function) {
    return [function = std::move(function)]<typename... Arguments>(
        Arguments && ... arguments) mutable requires std::invocable<F&, Arguments...> {
      static_cast<void>(std::invoke(function, std::forward<Arguments>(arguments)...));
    };
  }
};

/// A Future that anybody may complete, and a stage on which others build;
/// java.util.concurrent.CompletableFuture. A handle: copies name the same future. What stages do is told at
/// CompletionStage.
///
///     creel::CompletableFuture<int> answer;                        // no result yet
///     creel::CompletableFuture<int> twice = answer.then_apply([](int n) { return 2 * n; });
///     answer.complete(21);
///     twice.get();                                                 // 42
///
/// It shares its state with the Future of the same result: they convert to each other.
/// Memory effects: as CompletionStage; and complete() happens before get(), join() or wait() returns.
template <typename T>
class CompletableFuture : public CompletionStage<T> {
 public:
  /// One that is yet to be completed.
  CompletableFuture() : CompletableFuture(Ref(new detail::FutureState<T>())) {}
  /// Of the same result; `future` may not be empty.
  CompletableFuture(const Future<T>& future)
      : CompletableFuture(future.shared_state()) {}  // NOLINT: implicit
  explicit CompletableFuture(detail::HandleRef<detail::FutureState<T>> state) noexcept
      : CompletionStage<T>(std::move(state)) {}
  operator Future<T>() const { return to_future(); }  // NOLINT: implicit on purpose
  Future<T> to_future() const { return Future<T>(state_); }

  /// Waits for the value. Throws what the first stage that failed threw, without CompletionError around it;
  /// CancelledError if this one was cancelled; TimeoutError if `deadline` passes first, InterruptedError. The
  /// reference is good while a handle exists.
  std::add_lvalue_reference_t<const T> get(Deadline deadline = {}) const& {
    detail::wait_for_value(*state_, deadline, kType);
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  /// On a temporary handle the value is moved out if nobody else can reach it, else copied; a value that
  /// cannot be copied is moved.
  T get(Deadline deadline = {}) && {
    detail::wait_for_value(*state_, deadline, kType);
    if constexpr (!std::is_void_v<T>) return state_->take_value();
  }
  /// As get(), but interrupt() does not end the wait, and failures come as CompletionError.
  std::add_lvalue_reference_t<const T> join() const& {
    join_state();
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  T join() && {
    join_state();
    if constexpr (!std::is_void_v<T>) return state_->take_value();
  }
  /// The value, or `otherwise` if it is not done; throws as join() does. Does not wait.
  template <std::convertible_to<T> Otherwise>
  T get_now(Otherwise&& otherwise) const {
    if (!is_done()) return static_cast<T>(std::forward<Otherwise>(otherwise));
    return join();
  }
  /// Waits for the end, whatever it is. Returns false if `deadline` passes first. Throws InterruptedError.
  bool wait(Deadline deadline = {}) const { return state_->wait(deadline, kType); }

  bool is_done() const noexcept { return state_->is_done(); }
  bool is_cancelled() const noexcept { return state_->is_cancelled(); }
  /// Failed or cancelled.
  bool is_completed_exceptionally() const noexcept { return is_done() && state_->failure() != nullptr; }
  FutureStatus state() const noexcept { return detail::status_of(*state_); }
  /// As Future's: do not wait, throw Error if it has not ended so.
  std::add_lvalue_reference_t<const T> result_now() const& {
    detail::check_value_now(*state_);
    if constexpr (!std::is_void_v<T>) return state_->value();
  }
  std::exception_ptr exception_now() const { return detail::failure_now(*state_); }
  /// Stages that wait for this one; for people and heuristics.
  std::uint32_t get_number_of_dependents() const noexcept { return state_->dependents(); }

  /// Sets the value (of a void one: nothing) unless it is done already; returns whether this call did.
  template <typename... Value>
  bool complete(Value&&... value) const {
    return state_->set(std::forward<Value>(value)...);
  }
  /// Fails it unless it is done already. A CancelledError makes it cancelled.
  bool complete_exceptionally(std::exception_ptr exception) const noexcept {
    return detail::complete_exceptionally(*state_, exception);
  }
  template <std::derived_from<std::exception> Exception>
  bool complete_exceptionally(Exception exception) const {
    return complete_exceptionally(std::make_exception_ptr(std::move(exception)));
  }
  /// Ends it as cancelled unless it is done already; returns whether it is cancelled now. Does not interrupt
  /// anybody, and does not cancel what it depends on.
  bool cancel() const noexcept { return state_->cancel(false) || is_cancelled(); }
  /// Completes it with what `supplier()` returns or throws, on `executor`.
  template <typename F>
  const CompletableFuture& complete_async(F supplier, ExecutorRef executor = executors::common_pool()) const;
  /// Replaces the outcome, even of one that is done: for recovery in emergencies. References from get() stay
  /// good. Dependents that have gone on keep what they saw.
  template <typename... Value>
  void obtrude_value(Value&&... value) const {
    state_->obtrude_value(typename detail::FutureState<T>::Stored(std::forward<Value>(value)...));
  }
  void obtrude_exception(std::exception_ptr exception) const {
    state_->obtrude_failure(std::move(exception));
  }

  /// Fails it with TimeoutError if it is not done by `deadline`.
  const CompletableFuture& or_timeout(Deadline deadline) const {
    detail::at_deadline(*state_, deadline,
                        Task([future = *this] { future.complete_exceptionally(detail::timeout_failure()); }));
    return *this;
  }
  /// Completes it with `value` if it is not done by `deadline`.
  template <typename... Value>
  const CompletableFuture& complete_on_timeout(Deadline deadline, Value&&... value) const {
    detail::at_deadline(
        *state_, deadline,
        Task([future = *this, ... values = std::decay_t<Value>(std::forward<Value>(value))]() mutable {
          future.complete(std::move(values)...);
        }));
    return *this;
  }

  /// One that ends as this one does, and may be completed without this one noticing. Its failure is a
  /// CompletionError.
  CompletableFuture copy() const;
  /// The same outcome for those that shall build on it, but neither complete it nor wait for it.
  CompletionStage<T> minimal_completion_stage() const { return copy(); }
  /// A new one, yet to be completed.
  template <typename U = T>
  static CompletableFuture<U> new_incomplete_future() {
    return CompletableFuture<U>();
  }
  /// Where the _async forms run without an executor: the common pool.
  static Executor& default_executor() { return executors::common_pool(); }

 private:
  using Ref = detail::HandleRef<detail::FutureState<T>>;
  using CompletionStage<T>::state_;
  static constexpr const char* kType = "creel::CompletableFuture";

  void join_state() const {
    state_->wait_uninterruptibly(Deadline::never(), kType);
    if (is_cancelled()) throw CancelledError("this creel::CompletableFuture was cancelled");
    const std::exception_ptr failure = state_->failure();
    if (failure != nullptr) throw CompletionError(CompletionError::unwrap(failure));
  }
};

/// A future with what `supplier()` returns, run by `executor`. If that refuses the task, the future fails
/// with its RejectedError, as that of every _async form does; Java's supplyAsync throws it.
template <typename F>
auto supply_async(F supplier, ExecutorRef executor = executors::common_pool())
    -> CompletableFuture<std::invoke_result_t<F&>>;
/// The same for actions without a result.
template <std::invocable F>
CompletableFuture<void> run_async(F action, ExecutorRef executor = executors::common_pool());

/// Futures that are done already.
template <typename T>
CompletableFuture<std::decay_t<T>> completed_future(T&& value);
CompletableFuture<void> completed_future();
template <typename T>
CompletableFuture<T> failed_future(std::exception_ptr exception);
template <typename T>
CompletionStage<std::decay_t<T>> completed_stage(T&& value);
template <typename T>
CompletionStage<T> failed_stage(std::exception_ptr exception);

/// Done when all are, of whatever types; fails if one of them failed, after all ended. The values are to be
/// had from the futures.
template <typename... Ts>
CompletableFuture<void> all_of(const CompletionStage<Ts>&... futures);
template <std::ranges::forward_range Futures>
CompletableFuture<void> all_of(const Futures& futures);
/// Ends as the first of them does. Of none: never.
template <typename T, typename... Ts>
CompletableFuture<T> any_of(const CompletionStage<T>& first, const CompletionStage<Ts>&... futures);
template <std::ranges::forward_range Futures>
auto any_of(const Futures& futures)
    -> CompletableFuture<typename std::ranges::range_value_t<Futures>::value_type>;

/// Hands each task to `executor` after `delay`. It need not outlive them.
std::shared_ptr<Executor> delayed_executor(std::chrono::nanoseconds delay,
                                           ExecutorRef executor = executors::common_pool());

}  // namespace creel

#include <creel/runtime/detail/completable_future_inline.hpp>
