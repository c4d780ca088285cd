#pragma once

#include <creel/runtime/executor.hpp>
#include <creel/runtime/future.hpp>

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

// The stages of a CompletableFuture. Each is one object: the future that it completes, its place in the lists
// of those that it waits for, and the function. A body gets the stage and its source, both typed, and ends
// the stage.

namespace creel::detail {

// What a function is called with for a value: nothing for void, else a const T&. One that takes T&& only (a
// value that cannot be copied) gets the value moved.
template <typename F, typename T>
struct ValueCall {
  static constexpr bool kLends = std::invocable<F&, const T&>;
  static_assert(kLends || std::invocable<F&, T&&>,
                "a stage calls its function with the value before it: const T&");
  using Argument = std::conditional_t<kLends, const T&, T&&>;
  using Result = std::invoke_result_t<F&, Argument>;
};
template <typename F>
struct ValueCall<F, void> {
  static_assert(std::invocable<F&>, "a stage after a void one calls its function without an argument");
  using Result = std::invoke_result_t<F&>;
};
template <typename F, typename T>
using ValueResult = typename ValueCall<F, T>::Result;

template <typename F, typename T>
decltype(auto) call_with_value(F& function, FutureState<T>& source) {
  if constexpr (std::is_void_v<T>) {
    return std::invoke(function);
  } else {
    return std::invoke(function, static_cast<typename ValueCall<F, T>::Argument>(source.value()));
  }
}

template <typename F, typename T, typename U>
decltype(auto) call_with_both(F& function, FutureState<T>& first, FutureState<U>& second) {
  if constexpr (std::is_void_v<T>) {
    return call_with_value(function, second);
  } else if constexpr (std::is_void_v<U>) {
    return call_with_value(function, first);
  } else if constexpr (std::invocable<F&, const T&, const U&>) {
    return std::invoke(function, std::as_const(first.value()), std::as_const(second.value()));
  } else {
    return std::invoke(function, std::move(first.value()), std::move(second.value()));
  }
}

// What handle() and when_complete() call: (const T* value, exception_ptr), one of them null.
template <typename F, typename T>
struct OutcomeCall {
  static_assert(std::invocable<F&, const T*, std::exception_ptr>,
                "handle() and when_complete() call function(const T* value, std::exception_ptr failure)");
  using Result = std::invoke_result_t<F&, const T*, std::exception_ptr>;
};
template <typename F>
struct OutcomeCall<F, void> {
  static_assert(std::invocable<F&, std::exception_ptr>,
                "after a void stage handle() and when_complete() call function(std::exception_ptr failure)");
  using Result = std::invoke_result_t<F&, std::exception_ptr>;
};
template <typename F, typename T>
decltype(auto) call_with_outcome(F& function, FutureState<T>& source) {
  std::exception_ptr failure = source.failure();
  if constexpr (std::is_void_v<T>) {
    return std::invoke(function, std::move(failure));
  } else {
    const T* value = failure == nullptr ? &source.value() : nullptr;
    return std::invoke(function, value, std::move(failure));
  }
}

/// A stage whose work may have to go to an executor.
template <typename R>
class AsyncStage : public FutureState<R> {
 public:
  explicit AsyncStage(ExecutorRef executor) : executor_(std::move(executor)) {}

  /// The work, on whatever thread.
  virtual void run_now() noexcept = 0;

  /// Has the executor call run_now(). If it refuses, the stage fails; if it drops the task, it is cancelled.
  void run_async() noexcept {
    const WorkRef<AsyncStage> self(this);
    try {
      executor_.execute(Task(Run{self}));
    } catch (...) {
      hand_over_.store(HandOver::Refused, std::memory_order_relaxed);
      Completions rest;
      this->fail_with_current(rest);
      return;
    }
    HandOver dispatching = HandOver::Dispatching;
    if (!hand_over_.compare_exchange_strong(dispatching, HandOver::Accepted, std::memory_order_acq_rel))
      this->cancel(false);
  }

 protected:
  bool is_async() const noexcept { return static_cast<bool>(executor_); }

 private:
  enum class HandOver : std::uint8_t { Dispatching, Accepted, Dropped, Refused };
  struct Run {
    explicit Run(WorkRef<AsyncStage> run_stage) noexcept : stage(std::move(run_stage)) {}
    Run(Run&&) noexcept = default;
    Run& operator=(Run&&) = delete;
    ~Run() {
      if (stage) stage->dropped();
    }
    void operator()() noexcept { WorkRef<AsyncStage>(std::move(stage))->run_now(); }
    const FutureCore* future() const noexcept { return stage.get(); }
    WorkRef<AsyncStage> stage;
  };
  // While execute() has not returned, only run_async() knows whether this is a refusal.
  void dropped() noexcept {
    HandOver dispatching = HandOver::Dispatching;
    if (!hand_over_.compare_exchange_strong(dispatching, HandOver::Dropped, std::memory_order_acq_rel))
      this->cancel(false);
  }

  ExecutorRef executor_;
  std::atomic<HandOver> hand_over_{HandOver::Dispatching};
};

/// supply_async, run_async.
template <typename R, typename Function>
class SupplyStage final : public AsyncStage<R> {
 public:
  SupplyStage(Function function, ExecutorRef executor)
      : AsyncStage<R>(std::move(executor)), function_(std::in_place, std::move(function)) {}
  void run_now() noexcept override {
    if (!this->start_running()) return;
    Completions rest;
    this->template set_result_of<true>(rest, *function_);
  }

 private:
  void drop_work() noexcept override { function_.reset(); }
  std::optional<Function> function_;
};

/// A stage after one future.
template <typename R, typename T, typename Body>
class AfterOne final : public AsyncStage<R> {
 public:
  AfterOne(Body body, ExecutorRef executor)
      : AsyncStage<R>(std::move(executor)), body_(std::in_place, std::move(body)) {}
  void attach(FutureState<T>& source) { source.add_dependent(link_, *this); }

  void source_ended(FutureCore& source, DependentLink&, Completions& rest) noexcept override {
    auto& ended = static_cast<FutureState<T>&>(source);
    if (!this->is_async()) return run(ended, rest);
    if (this->is_done()) return;
    source_ = WorkRef<FutureState<T>>(&ended);
    this->run_async();
  }
  void run_now() noexcept override {
    Completions rest;
    const auto source = std::exchange(source_, {});
    run(*source, rest);
  }

 private:
  void run(FutureState<T>& source, Completions& rest) noexcept {
    if (!this->start_running()) return;
    (*body_)(static_cast<FutureState<R>&>(*this), source, rest);
    body_.reset();
  }
  void drop_work() noexcept override { body_.reset(); }

  DependentLink link_;
  std::optional<Body> body_;
  WorkRef<FutureState<T>> source_;  // once it has ended
};

/// A stage after both of two futures.
template <typename R, typename A, typename B, typename Body>
class AfterBoth final : public AsyncStage<R> {
 public:
  AfterBoth(Body body, ExecutorRef executor)
      : AsyncStage<R>(std::move(executor)), body_(std::in_place, std::move(body)) {}
  void attach(FutureState<A>& first, FutureState<B>& second) {
    first.add_dependent(first_link_, *this);
    second.add_dependent(second_link_, *this);
  }

  void source_ended(FutureCore& source, DependentLink& link, Completions& rest) noexcept override {
    if (&link == &first_link_) {
      first_ = WorkRef<FutureState<A>>(static_cast<FutureState<A>*>(&source));
    } else {
      second_ = WorkRef<FutureState<B>>(static_cast<FutureState<B>*>(&source));
    }
    // acq_rel: the later one sees what the earlier one has stored.
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (!this->is_async()) return run(rest);
    if (!this->is_done()) this->run_async();
  }
  void run_now() noexcept override {
    Completions rest;
    run(rest);
  }

 private:
  void run(Completions& rest) noexcept {
    const auto first = std::exchange(first_, {});
    const auto second = std::exchange(second_, {});
    if (!this->start_running()) return;
    if (!this->relay_failure(*first, rest) && !this->relay_failure(*second, rest))
      (*body_)(static_cast<FutureState<R>&>(*this), *first, *second, rest);
    body_.reset();
  }
  void drop_work() noexcept override { body_.reset(); }

  DependentLink first_link_;
  DependentLink second_link_;
  std::optional<Body> body_;
  std::atomic<int> missing_{2};
  WorkRef<FutureState<A>> first_;
  WorkRef<FutureState<B>> second_;
};

/// The outcome of the first of several futures that ends.
template <typename R>
class AfterAny final : public FutureState<R> {
 public:
  explicit AfterAny(std::size_t count) : links_(count) {}
  void attach(std::size_t index, FutureCore& source) {
    if (!this->is_done()) source.add_dependent(links_[index], *this);
  }
  void source_ended(FutureCore& source, DependentLink&, Completions& rest) noexcept override {
    if (this->is_done()) return;
    if constexpr (std::is_void_v<R>) {
      if (!this->relay_failure(source, rest)) this->set_and(rest);
    } else {
      this->share(static_cast<FutureState<R>&>(source), rest);
    }
  }

 private:
  std::vector<DependentLink> links_;
};

/// Done when all of several futures are; fails as the first of them that failed.
class AfterAll final : public FutureState<void> {
 public:
  explicit AfterAll(std::size_t count) : links_(count), missing_(count + 1) {}
  void attach(std::size_t index, FutureCore& source) { source.add_dependent(links_[index], *this); }
  void source_ended(FutureCore& source, DependentLink&, Completions& rest) noexcept override {
    if (source.failure() != nullptr && !has_failed_.exchange(true, std::memory_order_relaxed))
      failed_ = WorkRef<FutureCore>(&source);
    one_less(rest);
  }
  /// Counts one down: each future, and the one who attached them.
  void one_less(Completions& rest) noexcept {
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (!failed_ || !relay_failure(*failed_, rest)) set_and(rest);
    failed_ = {};
  }

 private:
  std::vector<DependentLink> links_;
  std::atomic<std::size_t> missing_;
  std::atomic<bool> has_failed_{false};
  WorkRef<FutureCore> failed_;
};

/// Takes over the outcome of another future that its function gives it: then_compose.
template <typename R, typename T, typename Body>
class ComposeStage final : public AsyncStage<R> {
 public:
  ComposeStage(Body body, ExecutorRef executor)
      : AsyncStage<R>(std::move(executor)), body_(std::in_place, std::move(body)) {}
  void attach(FutureState<T>& source) { source.add_dependent(link_, *this); }

  void source_ended(FutureCore& source, DependentLink& link, Completions& rest) noexcept override {
    if (&link == &inner_link_) return this->share(static_cast<FutureState<R>&>(source), rest);
    auto& ended = static_cast<FutureState<T>&>(source);
    if (!this->is_async()) return run(ended, rest);
    if (this->is_done()) return;
    source_ = WorkRef<FutureState<T>>(&ended);
    this->run_async();
  }
  void run_now() noexcept override {
    Completions rest;
    const auto source = std::exchange(source_, {});
    run(*source, rest);
  }
  /// For the body: this stage ends as `inner` does.
  void follow(FutureState<R>& inner, Completions& rest) { inner.add_dependent(inner_link_, *this, rest); }

 private:
  void run(FutureState<T>& source, Completions& rest) noexcept {
    if (!this->start_running()) return;
    try {
      (*body_)(*this, source, rest);
    } catch (...) {
      this->fail_with_current(rest);
    }
    body_.reset();
    this->stop_running();  // whoever works on the other future is not known
  }
  void drop_work() noexcept override { body_.reset(); }

  DependentLink link_;
  DependentLink inner_link_;
  std::optional<Body> body_;
  WorkRef<FutureState<T>> source_;
};

}  // namespace creel::detail
