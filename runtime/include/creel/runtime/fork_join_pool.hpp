#pragma once

#include <creel/runtime/detail/fork_join_worker.hpp>
#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace creel {

namespace detail {
class ExecutorGauges;
}

/// A long wait that a worker announces to its pool, which lets another thread work meanwhile;
/// java.util.concurrent.ForkJoinPool.ManagedBlocker.
class ManagedBlocker {
 public:
  virtual ~ManagedBlocker() = default;
  /// Whether there is nothing to wait for any more.
  virtual bool is_releasable() = 0;
  /// Waits, perhaps; true if there is nothing to wait for any more.
  virtual bool block() = 0;
};

/// Threads that divide work among themselves: what one of them forks the others steal;
/// java.util.concurrent.ForkJoinPool.
///
///     creel::ForkJoinPool pool{{.parallelism = 4, .name = "sort"}};
///     pool.invoke([&](creel::ForkJoinWorkerThread& worker) { sort(worker, numbers); });
///
/// Work is forked by fork_join() (fork_join.hpp), which costs a few nanoseconds unless a thread is free to
/// take it, or by RecursiveTask objects (fork_join_task.hpp). A worker that waits for a fork runs others
/// meanwhile; threads from outside, platform or virtual, wait parked. Workers are daemon platform threads,
/// started as they are needed.
///
/// A pool with a name shows `creel.executor.<name>.queue` and `.active` among the process's counters (Gauge).
///
/// Memory effects: what a thread did before it forked or submitted happens before the work; what the work did
/// happens before its join or get() returns. Order: a worker takes its own forks last in, first out (with
/// `async`, first in, first out) and steals the oldest of others; tasks from outside come in their order.
class ForkJoinPool final : public ExecutorService {
 public:
  struct Options {
    /// Threads that work at a time, at most 256; 0: as many as the process may use processors.
    std::size_t parallelism = 0;
    /// First in, first out also for a worker's own tasks: for events that nobody joins.
    bool async = false;
    /// Null: daemon platform threads named after the pool, "sort-0".
    ThreadFactory factory{};
    std::string name{};  ///< empty: "fork-join-N"
  };

  explicit ForkJoinPool(Options options) : ForkJoinPool(std::move(options), false) {}
  ForkJoinPool() : ForkJoinPool(Options{}) {}
  explicit ForkJoinPool(std::size_t parallelism) : ForkJoinPool(Options{.parallelism = parallelism}) {}
  /// Shuts down and waits for the tasks, not to be interrupted. Not on a worker of the pool itself.
  ~ForkJoinPool() override;
  ForkJoinPool(const ForkJoinPool&) = delete;
  ForkJoinPool& operator=(const ForkJoinPool&) = delete;

  /// The pool of all that name none. It lives as long as the process (a child of fork() gets its
  /// own): shutdown() does nothing to it. CREEL_COMMON_PARALLELISM (1 to 256) sets its size; by default the
  /// processors that the process may use.
  static ForkJoinPool& common();

  /// Calls `function(worker)` or `function()` on a worker and waits for what it returns or throws; on a
  /// worker of this pool just calls it. interrupt() does not end the wait. Throws RejectedError after
  /// shutdown.
  template <typename Function>
  requires(!std::derived_from<std::remove_cvref_t<Function>, detail::ForkJoinTaskCore>)
      detail::ForkJoinValue<std::remove_reference_t<Function>> invoke(Function&& function);

  /// Runs a ForkJoinTask here and waits for its value, as its join(). Throws RejectedError after shutdown.
  template <std::derived_from<detail::ForkJoinTaskCore> AnyTask>
  decltype(auto) invoke(AnyTask& task) {
    execute(task);
    return task.join();
  }
  /// Forks a ForkJoinTask here; from outside of the pool too. It must not be destroyed before it is done.
  void execute(detail::ForkJoinTaskCore& task);

  /// Runs the task some time. On a worker of this pool it is a fork of that worker's. Throws RejectedError
  /// after shutdown unless on a worker of this pool. What the task throws is logged; it ends no thread.
  void execute(Task task) override;
  /// Takes no more tasks from outside. Those that it has run to their end, with all that they fork.
  void shutdown() override;
  /// As shutdown(); also interrupts the workers and returns what has not begun and came by execute() or
  /// submit() from outside; tasks from outside of other kinds are cancelled. What was forked still runs: its
  /// forker waits.
  std::vector<Task> shutdown_now() override;
  bool is_shutdown() const noexcept override;
  bool is_terminated() const noexcept override;
  bool await_termination(Deadline deadline = {}) override;

  /// No worker runs a task and none waits to be run.
  bool is_quiescent() const noexcept;
  /// Waits for that; false if `deadline` passes first. Throws InterruptedError, and Error on a worker of this
  /// pool, which would wait for itself.
  bool await_quiescence(Deadline deadline = {});

  /// Lets `blocker` wait. On a worker of a pool, another thread works in its place meanwhile (at most 64 do).
  /// Throws what the blocker throws. blocking() does the same for a call.
  static void managed_block(ManagedBlocker& blocker);

  std::size_t parallelism() const noexcept;
  bool is_async() const noexcept;
  const std::string& name() const noexcept;
  /// Snapshots for monitoring, as Java's getters of these names: started threads; those that are not idle;
  /// tasks taken from other workers; forks that wait in deques; tasks from outside that wait.
  std::size_t pool_size() const noexcept;
  std::size_t running_thread_count() const noexcept;
  std::uint64_t steal_count() const noexcept;
  std::size_t queued_task_count() const noexcept;
  std::size_t queued_submission_count() const noexcept;
  bool has_queued_submissions() const noexcept { return queued_submission_count() > 0; }

  static constexpr std::size_t kMostThreads = 256;

  /// For common().
  ForkJoinPool(Options options, bool is_common);

 private:
  friend class detail::ForkJoinState;
  friend class detail::ForkJoinCompensation;
  friend class detail::ForkJoinTaskCore;

  // A call from outside that waits for its end.
  class Invocation : public detail::ForkJoinNode {
   public:
    explicit Invocation(Run run) noexcept : ForkJoinNode(run) {}

   protected:
    ~Invocation() = default;
    void finish(bool cancelled) noexcept;

   private:
    friend class ForkJoinPool;
    detail::WaitQueue queue_;
  };
  void run_and_wait(Invocation& invocation);
  ForkJoinWorkerThread* own_worker() noexcept;

  const bool is_common_;
  std::shared_ptr<detail::ForkJoinState> state_;  // the workers hold it too
  std::unique_ptr<detail::ExecutorGauges> gauges_;
};

template <typename Function>
requires(!std::derived_from<std::remove_cvref_t<Function>, detail::ForkJoinTaskCore>)
    detail::ForkJoinValue<std::remove_reference_t<Function>> ForkJoinPool::invoke(Function&& function) {
  using Callable = std::remove_reference_t<Function>;
  using Value = detail::ForkJoinValue<Callable>;
  if (ForkJoinWorkerThread* worker = own_worker()) return detail::fork_join_call(function, *worker);
  struct Call final : Invocation {
    explicit Call(Callable& its_callable) noexcept : Invocation(run), callable(its_callable) {}
    static void run(detail::ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept {
      auto& self = static_cast<Call&>(node);
      if (worker != nullptr) {
        try {
          self.value.emplace(detail::fork_join_call(self.callable, *worker));
        } catch (...) {
          self.failure = std::current_exception();
        }
      }
      self.finish(worker == nullptr);
    }
    Callable& callable;
    std::optional<Value> value;
    std::exception_ptr failure;
  } call(function);
  run_and_wait(call);
  if (call.failure) std::rethrow_exception(call.failure);
  return *std::move(call.value);
}

}  // namespace creel
