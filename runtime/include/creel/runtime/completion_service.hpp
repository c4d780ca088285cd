#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/arrival_queue.hpp>
#include <creel/runtime/executor.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace creel {

/// Gives the futures of submitted tasks in the order in which they end;
/// java.util.concurrent.ExecutorCompletionService.
///
///     creel::ExecutorCompletionService<Page> pages{*pool};
///     for (const Url& url : urls) pages.submit([&url] { return fetch(url); });
///     for (std::size_t i = 0; i < urls.size(); ++i) show(pages.take().get());
///
/// A future comes once, also if it failed or was cancelled. Any number of threads may submit and take. The
/// service may be destroyed while tasks run; nobody gets their futures from it then.
/// Memory effects: what a task did happens before take() returns its future.
template <typename T>
class ExecutorCompletionService {
 public:
  /// `executor` must live as long as tasks are submitted.
  explicit ExecutorCompletionService(ExecutorRef executor) : executor_(std::move(executor)) {}
  /// The futures go through `queue`, which others may read too. What ends while it is full or closed does not
  /// get there.
  ExecutorCompletionService(ExecutorRef executor, std::shared_ptr<BlockingQueue<Future<T>>> queue)
      : executor_(std::move(executor)), ended_(std::move(queue)) {}

  /// Throws RejectedError if the executor does.
  template <typename Function>
  Future<T> submit(Function&& function) {
    using State = detail::FutureTask<T, std::decay_t<Function>>;
    detail::WorkRef<State> state(new State(std::forward<Function>(function)));
    Future<T> future{detail::HandleRef<detail::FutureState<T>>(state.get())};
    executor_.execute(Task(detail::FutureTaskRun<State>(std::move(state))));
    ended_.expect(future);
    return future;
  }

  /// Runs `function()`; the Future has `value` once it has returned.
  template <typename Function, typename Value>
  Future<T> submit(Function&& function, Value&& value) requires std::convertible_to<Value, T> {
    return submit([function = std::decay_t<Function>(std::forward<Function>(function)),
                   value = T(std::forward<Value>(value))]() mutable -> T {
      std::invoke(function);
      return std::move(value);
    });
  }

  /// Waits for the next one that has ended. Throws InterruptedError; Error if the queue is the user's, and
  /// was closed.
  Future<T> take() {
    if (std::optional<Future<T>> next = ended_.queue().take()) return *std::move(next);
    throw Error("take() from a completion service whose queue is closed");
  }
  /// The next one that has ended before `deadline` (by default: now); nullopt if none has. Throws
  /// InterruptedError.
  std::optional<Future<T>> poll(Deadline deadline = Deadline::now()) { return ended_.queue().poll(deadline); }

 private:
  ExecutorRef executor_;
  detail::ArrivalQueue<T> ended_;
};

}  // namespace creel
