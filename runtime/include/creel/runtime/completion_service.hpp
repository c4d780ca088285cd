#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/arrival_queue.hpp>
#include <creel/runtime/executor.hpp>

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

  /// Waits for the next one that has ended. Throws InterruptedError.
  Future<T> take() { return *ended_.queue().take(); }
  /// The next one that has ended before `deadline` (by default: now); nullopt if none has. Throws
  /// InterruptedError.
  std::optional<Future<T>> poll(Deadline deadline = Deadline::now()) { return ended_.queue().poll(deadline); }

 private:
  ExecutorRef executor_;
  detail::ArrivalQueue<T> ended_;
};

}  // namespace creel
