#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/task.hpp>

#include <memory>
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

/// An Executor with results and an end; java.util.concurrent.ExecutorService. Its destructor shuts it down
/// and waits for the tasks that it has accepted, so that they may use what was made before it.
class ExecutorService : public Executor {
 public:
  /// Runs `function()`; the Future has what it returns or throws. Throws RejectedError after shutdown. A task
  /// that is dropped without having run (shutdown_now, a rejection policy) counts as cancelled.
  template <typename Function>
  auto submit(Function&& function) -> Future<std::invoke_result_t<std::decay_t<Function>&>> {
    using Result = std::invoke_result_t<std::decay_t<Function>&>;
    using State = detail::FutureTask<Result, std::decay_t<Function>>;
    auto state = std::make_shared<State>(std::forward<Function>(function));
    Future<Result> future(state);
    execute(Task(detail::FutureTaskRun<State>(std::move(state))));
    return future;
  }

  /// Takes no more tasks; those that it has will run. Does not wait.
  virtual void shutdown() = 0;
  /// As shutdown(), but interrupts what runs and returns what has not begun.
  virtual std::vector<Task> shutdown_now() = 0;
  virtual bool is_shutdown() const noexcept = 0;
  /// Shut down, and every task has ended.
  virtual bool is_terminated() const noexcept = 0;
  /// Waits for that; false if `deadline` passes first. Throws InterruptedError.
  virtual bool await_termination(Deadline deadline = {}) = 0;
};

}  // namespace creel
