#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/arrival_queue.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/task.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

/// Runs tasks somewhere, sometime; java.util.concurrent.Executor.
/// Memory effects: what a thread did before execute() happens before the task.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Throws RejectedError if it takes no more. What the task throws goes to its thread's uncaught-exception
  /// handler.
  virtual void execute(Task task) = 0;
};

/// An executor as an argument: one that the caller keeps, named by reference, or one that is kept alive.
class ExecutorRef {
 public:
  /// None: the calling thread.
  ExecutorRef() noexcept = default;
  ExecutorRef(Executor& executor) noexcept  // NOLINT: implicit on purpose
      : executor_(std::shared_ptr<void>(), &executor) {}
  template <std::derived_from<Executor> Kept>
  ExecutorRef(std::shared_ptr<Kept> executor) noexcept  // NOLINT: implicit on purpose
      : executor_(std::move(executor)) {}

  explicit operator bool() const noexcept { return executor_ != nullptr; }
  void execute(Task task) const {
    if (executor_ == nullptr) return task();
    executor_->execute(std::move(task));
  }

 private:
  std::shared_ptr<Executor> executor_;
};

namespace detail {

template <typename Tasks>
using TaskResult = std::invoke_result_t<std::ranges::range_value_t<Tasks>&>;

/// Cancels what has not ended when the scope is left.
template <typename T>
struct CancelAll {
  std::vector<Future<T>>& futures;
  bool armed = true;
  ~CancelAll() {
    if (!armed) return;
    for (const Future<T>& future : futures) future.cancel();
  }
};

}  // namespace detail

/// An Executor with results and an end; java.util.concurrent.ExecutorService. Its destructor shuts it down
/// and waits for the tasks that it has accepted, and the handlers of what they threw, so that these may use
/// what was made before it.
///
///     auto pool = creel::executors::new_fixed_thread_pool(4);
///     creel::Future<int> sum = pool->submit([&] { return add_up(numbers); });
///     std::vector<creel::Future<Image>> images = pool->invoke_all(loaders, 2s);
class ExecutorService : public Executor {
 public:
  /// Runs `function()`; the Future has what it returns or throws. Throws RejectedError after shutdown. A task
  /// that is dropped without having run (shutdown_now, a rejection policy) counts as cancelled.
  template <typename Function>
  auto submit(Function&& function) -> Future<std::invoke_result_t<std::decay_t<Function>&>> {
    using Result = std::invoke_result_t<std::decay_t<Function>&>;
    using State = detail::FutureTask<Result, std::decay_t<Function>>;
    detail::WorkRef<State> state(new State(std::forward<Function>(function)));
    Future<Result> future{detail::HandleRef<detail::FutureState<Result>>(state.get())};
    execute(Task(detail::FutureTaskRun<State>(std::move(state))));
    return future;
  }
  /// Runs `function()`; the Future has `value` once it has returned.
  template <typename Function, typename Value>
  Future<std::decay_t<Value>> submit(Function&& function, Value&& value) {
    return submit([function = std::decay_t<Function>(std::forward<Function>(function)),
                   value = std::decay_t<Value>(std::forward<Value>(value))]() mutable {
      std::invoke(function);
      return std::move(value);
    });
  }

  /// Runs all of `tasks`, callables of one type (copied, or moved out of a temporary range), and waits until
  /// every one has ended; the futures stand in the order of the tasks and are done. Those that have not ended
  /// when `deadline` passes are cancelled. If it throws (InterruptedError, RejectedError), all are.
  template <std::ranges::input_range Tasks>
  auto invoke_all(Tasks&& tasks, Deadline deadline = {}) -> std::vector<Future<detail::TaskResult<Tasks>>> {
    std::vector<Future<detail::TaskResult<Tasks>>> futures;
    detail::CancelAll<detail::TaskResult<Tasks>> cancel{futures};
    for (auto&& task : tasks) futures.push_back(submit(forward_task<Tasks>(task)));
    for (const auto& future : futures) {
      if (!future.wait(deadline)) return futures;  // cancels
    }
    cancel.armed = false;
    return futures;
  }

  /// Runs `tasks`, callables of one type, until one of them returns; gives what that returned and cancels the
  /// others. Throws what the last one threw if all failed, TimeoutError if `deadline` passes first,
  /// InterruptedError, Error if there are no tasks.
  template <std::ranges::input_range Tasks>
  detail::TaskResult<Tasks> invoke_any(Tasks&& tasks, Deadline deadline = {});

  /// Takes no more tasks; those that it has will run. Does not wait.
  virtual void shutdown() = 0;
  /// As shutdown(), but interrupts what runs and returns what has not begun. A submitted task among them is
  /// cancelled when it is destroyed.
  virtual std::vector<Task> shutdown_now() = 0;
  virtual bool is_shutdown() const noexcept = 0;
  /// Shut down, and every task has ended.
  virtual bool is_terminated() const noexcept = 0;
  /// Waits for that; false if `deadline` passes first. Throws InterruptedError.
  virtual bool await_termination(Deadline deadline = {}) = 0;
  /// shutdown(), then waits for the tasks; if the calling thread is interrupted meanwhile, shutdown_now() and
  /// waits on, and leaves the interrupt flag set. Not from a task of its own, which it would wait for.
  void close();

 private:
  template <typename Tasks, typename Element>
  static decltype(auto) forward_task(Element& task) {
    if constexpr (std::is_lvalue_reference_v<Tasks>) {
      return task;
    } else {
      return std::move(task);
    }
  }
};

template <std::ranges::input_range Tasks>
detail::TaskResult<Tasks> ExecutorService::invoke_any(Tasks&& tasks, Deadline deadline) {
  using Result = detail::TaskResult<Tasks>;
  detail::ArrivalQueue<Result> ended;
  std::vector<Future<Result>> futures;
  const detail::CancelAll<Result> cancel{futures};
  for (auto&& task : tasks) {
    futures.push_back(submit(forward_task<Tasks>(task)));
    ended.expect(futures.back());
  }
  if (futures.empty()) throw Error("invoke_any() without a task");
  std::exception_ptr failure;
  for (std::size_t left = futures.size(); left > 0; --left) {
    const std::optional<Future<Result>> done = ended.queue().poll(deadline);
    if (!done) throw TimeoutError("no task of invoke_any() had a result in time");
    try {
      if constexpr (std::is_void_v<Result>) {
        return done->get();
      } else if constexpr (std::is_copy_constructible_v<Result>) {
        return std::as_const(done->get());
      } else {
        return std::move(done->get());
      }
    } catch (...) {
      failure = std::current_exception();
    }
  }
  std::rethrow_exception(failure);
}

}  // namespace creel
