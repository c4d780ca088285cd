#pragma once

// The definitions of completable_future.hpp's templates; include that.

#include <creel/runtime/completable_future.hpp>

namespace creel {

template <typename T>
template <typename R, typename Body>
CompletableFuture<R> CompletionStage<T>::after(Body body, ExecutorRef executor) const {
  using Stage = detail::AfterOne<R, T, Body>;
  const detail::HandleRef<Stage> stage(new Stage(std::move(body), std::move(executor)));
  stage->attach(*state_);
  return CompletableFuture<R>(detail::HandleRef<detail::FutureState<R>>(stage));
}

template <typename T>
template <typename F>
auto CompletionStage<T>::apply(F function, ExecutorRef executor) const {
  using R = std::decay_t<detail::ValueResult<F, T>>;
  return after<R>(
      [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
        if (self.relay_failure(source, rest)) return;
        self.template set_result_of<true>(rest,
                                          [&]() -> R { return detail::call_with_value(function, source); });
      },
      std::move(executor));
}

template <typename T>
template <typename F>
CompletableFuture<void> CompletionStage<T>::accept(F function, ExecutorRef executor) const {
  return apply(discard(std::move(function)), std::move(executor));
}

template <typename T>
template <typename F>
CompletableFuture<void> CompletionStage<T>::run(F action, ExecutorRef executor) const {
  return after<void>(
      [action = std::move(action)](auto& self, auto& source, detail::Completions& rest) mutable {
        if (self.relay_failure(source, rest)) return;
        self.template set_result_of<true>(rest, [&] { static_cast<void>(std::invoke(action)); });
      },
      std::move(executor));
}

template <typename T>
template <typename F>
auto CompletionStage<T>::compose(F function, ExecutorRef executor) const {
  using R = typename detail::StageValue<std::decay_t<detail::ValueResult<F, T>>>::Type;
  auto body = [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
    if (self.relay_failure(source, rest)) return;
    const CompletableFuture<R> inner = detail::call_with_value(function, source);
    self.follow(inner.shared_state(), rest);
  };
  using Stage = detail::ComposeStage<R, T, decltype(body)>;
  const detail::HandleRef<Stage> stage(new Stage(std::move(body), std::move(executor)));
  stage->attach(*state_);
  return CompletableFuture<R>(detail::HandleRef<detail::FutureState<R>>(stage));
}

template <typename T>
template <typename F>
CompletableFuture<T> CompletionStage<T>::recover_by(F function, ExecutorRef executor) const {
  auto body = [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
    std::exception_ptr failure = source.failure();
    if (failure == nullptr) return self.share(source, rest);
    const CompletableFuture<T> inner = std::invoke(function, std::move(failure));
    self.follow(inner.shared_state(), rest);
  };
  using Stage = detail::ComposeStage<T, T, decltype(body)>;
  const detail::HandleRef<Stage> stage(new Stage(std::move(body), std::move(executor)));
  stage->attach(*state_);
  return CompletableFuture<T>(detail::HandleRef<detail::FutureState<T>>(stage));
}

template <typename T>
template <typename U, typename F>
auto CompletionStage<T>::combine(const CompletionStage<U>& other, F function, ExecutorRef executor) const {
  using R = std::decay_t<decltype(detail::call_with_both(
      std::declval<F&>(), std::declval<detail::FutureState<T>&>(), std::declval<detail::FutureState<U>&>()))>;
  auto body = [function = std::move(function)](auto& self, auto& first, auto& second,
                                               detail::Completions& rest) mutable {
    self.template set_result_of<true>(rest,
                                      [&]() -> R { return detail::call_with_both(function, first, second); });
  };
  using Stage = detail::AfterBoth<R, T, U, decltype(body)>;
  const detail::HandleRef<Stage> stage(new Stage(std::move(body), std::move(executor)));
  stage->attach(*state_, *other.state_);
  return CompletableFuture<R>(detail::HandleRef<detail::FutureState<R>>(stage));
}

template <typename T>
template <typename U, typename F>
CompletableFuture<void> CompletionStage<T>::run_both(const CompletionStage<U>& other, F action,
                                                     ExecutorRef executor) const {
  return combine(
      other, [action = std::move(action)](auto&&...) mutable { static_cast<void>(std::invoke(action)); },
      std::move(executor));
}

template <typename T>
template <typename F>
CompletableFuture<T> CompletionStage<T>::recover(F function, ExecutorRef executor) const {
  return after<T>(
      [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
        std::exception_ptr failure = source.failure();
        if (failure == nullptr) return self.share(source, rest);
        self.template set_result_of<true>(rest,
                                          [&]() -> T { return std::invoke(function, std::move(failure)); });
      },
      std::move(executor));
}

template <typename T>
template <typename F>
auto CompletionStage<T>::handle_with(F function, ExecutorRef executor) const {
  using R = std::decay_t<typename detail::OutcomeCall<F, T>::Result>;
  return after<R>(
      [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
        self.template set_result_of<true>(rest,
                                          [&]() -> R { return detail::call_with_outcome(function, source); });
      },
      std::move(executor));
}

template <typename T>
template <typename F>
CompletableFuture<T> CompletionStage<T>::observe(F function, ExecutorRef executor) const {
  return after<T>(
      [function = std::move(function)](auto& self, auto& source, detail::Completions& rest) mutable {
        try {
          static_cast<void>(detail::call_with_outcome(function, source));
        } catch (...) {
          if (!self.relay_failure(source, rest)) self.fail_with_current(rest);
          return;
        }
        self.share(source, rest);
      },
      std::move(executor));
}

template <typename T>
CompletableFuture<T> CompletionStage<T>::first_of(const CompletionStage& other) const {
  return any_of(*this, other);
}

template <typename T>
template <typename U>
CompletableFuture<void> CompletionStage<T>::first_of_any(const CompletionStage<U>& other) const {
  const detail::HandleRef<detail::AfterAny<void>> stage(new detail::AfterAny<void>(2));
  stage->attach(0, *state_);
  stage->attach(1, *other.state_);
  return CompletableFuture<void>(detail::HandleRef<detail::FutureState<void>>(stage));
}

template <typename T>
CompletableFuture<T> CompletionStage<T>::to_completable_future() const {
  return CompletableFuture<T>(state_);
}

template <typename T>
template <typename F>
const CompletableFuture<T>& CompletableFuture<T>::complete_async(F supplier, ExecutorRef executor) const {
  executor.execute(Task([future = *this, supplier = std::move(supplier)]() mutable {
    if (future.is_done()) return;
    detail::Completions rest;
    future.state_->template set_result_of<true>(rest, supplier);
  }));
  return *this;
}

template <typename T>
CompletableFuture<T> CompletableFuture<T>::copy() const {
  return this->template after<T>(
      [](auto& self, auto& source, detail::Completions& rest) { self.share(source, rest); }, ExecutorRef());
}

template <typename F>
auto supply_async(F supplier, ExecutorRef executor) -> CompletableFuture<std::invoke_result_t<F&>> {
  using R = std::invoke_result_t<F&>;
  using Stage = detail::SupplyStage<R, F>;
  const detail::HandleRef<Stage> stage(new Stage(std::move(supplier), std::move(executor)));
  stage->run_async();
  return CompletableFuture<R>(detail::HandleRef<detail::FutureState<R>>(stage));
}

template <std::invocable F>
CompletableFuture<void> run_async(F action, ExecutorRef executor) {
  return supply_async([action = std::move(action)]() mutable { static_cast<void>(std::invoke(action)); },
                      std::move(executor));
}

template <typename T>
CompletableFuture<std::decay_t<T>> completed_future(T&& value) {
  CompletableFuture<std::decay_t<T>> future;
  future.complete(std::forward<T>(value));
  return future;
}
inline CompletableFuture<void> completed_future() {
  CompletableFuture<void> future;
  future.complete();
  return future;
}
template <typename T>
CompletableFuture<T> failed_future(std::exception_ptr exception) {
  CompletableFuture<T> future;
  future.complete_exceptionally(std::move(exception));
  return future;
}
template <typename T>
CompletionStage<std::decay_t<T>> completed_stage(T&& value) {
  return completed_future(std::forward<T>(value));
}
template <typename T>
CompletionStage<T> failed_stage(std::exception_ptr exception) {
  return failed_future<T>(std::move(exception));
}

template <typename... Ts>
CompletableFuture<void> all_of(const CompletionStage<Ts>&... futures) {
  const detail::HandleRef<detail::AfterAll> stage(new detail::AfterAll(sizeof...(Ts)));
  std::size_t index = 0;
  (stage->attach(index++, futures.shared_state()), ...);
  detail::Completions rest;
  stage->one_less(rest);
  return CompletableFuture<void>(detail::HandleRef<detail::FutureState<void>>(stage));
}

template <std::ranges::forward_range Futures>
CompletableFuture<void> all_of(const Futures& futures) {
  const auto count = static_cast<std::size_t>(std::ranges::distance(futures));
  const detail::HandleRef<detail::AfterAll> stage(new detail::AfterAll(count));
  std::size_t index = 0;
  for (const auto& future : futures) stage->attach(index++, future.shared_state());
  detail::Completions rest;
  stage->one_less(rest);
  return CompletableFuture<void>(detail::HandleRef<detail::FutureState<void>>(stage));
}

template <typename T, typename... Ts>
CompletableFuture<T> any_of(const CompletionStage<T>& first, const CompletionStage<Ts>&... futures) {
  static_assert((std::same_as<T, Ts> && ...), "any_of() takes futures of one type");
  const detail::HandleRef<detail::AfterAny<T>> stage(new detail::AfterAny<T>(1 + sizeof...(Ts)));
  std::size_t index = 0;
  stage->attach(index++, first.shared_state());
  (stage->attach(index++, futures.shared_state()), ...);
  return CompletableFuture<T>(detail::HandleRef<detail::FutureState<T>>(stage));
}

template <std::ranges::forward_range Futures>
auto any_of(const Futures& futures)
    -> CompletableFuture<typename std::ranges::range_value_t<Futures>::value_type> {
  using T = typename std::ranges::range_value_t<Futures>::value_type;
  const auto count = static_cast<std::size_t>(std::ranges::distance(futures));
  const detail::HandleRef<detail::AfterAny<T>> stage(new detail::AfterAny<T>(count));
  std::size_t index = 0;
  for (const auto& future : futures) stage->attach(index++, future.shared_state());
  return CompletableFuture<T>(detail::HandleRef<detail::FutureState<T>>(stage));
}

}  // namespace creel
