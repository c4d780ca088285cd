#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace creel {

/// Threads that work through a queue of tasks; java.util.concurrent.ThreadPoolExecutor.
///
/// A task starts a new thread while there are fewer than `core_size`; else it goes into the queue; if the
/// queue is full it starts a new thread while there are fewer than `maximum_size`; else it is rejected.
/// Queued tasks begin in the order in which they came. Dumps list the threads under the pool's name.
///
///     creel::ThreadPoolExecutor pool{{.core_size = 4, .name = "decode"}};
///     auto image = pool.submit([&] { return decode(bytes); });
///
/// A pool that was given a name shows its figures beside the process's others (`jcmd PID PerfCounter.print`):
/// `creel.executor.decode.queue`, `.active` and `.completed`.
///
/// Any thread may call anything at any time. A worker is interrupted by cancel() of the Future it works on
/// and by shutdown_now() only; an interrupt that one task leaves behind does not reach the next.
class ThreadPoolExecutor final : public ExecutorService {
 public:
  /// What happens to a task that finds neither room nor a thread, or comes after shutdown.
  enum class Rejection : std::uint8_t {
    Abort,          ///< execute() throws RejectedError
    CallerRuns,     ///< the calling thread runs it; after shutdown it is dropped
    Discard,        ///< it is dropped
    DiscardOldest,  ///< the oldest one in the queue is dropped for it; after shutdown it is dropped itself
  };

  /// Gets rejected tasks in place of a Rejection: runs, keeps or drops them; may throw what execute() then
  /// throws.
  using RejectionHandler = std::function<void(Task, ThreadPoolExecutor&)>;

  struct Options {
    std::size_t core_size = 1;
    std::size_t maximum_size = 0;  ///< 0: as core_size
    /// How long a thread beyond core_size waits for a task before it ends.
    std::chrono::nanoseconds keep_alive = std::chrono::seconds(60);
    bool core_may_time_out = false;  ///< keep_alive holds for all threads
    /// The pool's alone. Null: unbounded.
    std::shared_ptr<BlockingQueue<Task>> queue{};
    /// Null: platform threads named after the pool, "decode-0".
    ThreadFactory factory{};
    Rejection rejection = Rejection::Abort;
    std::string name{};  ///< empty: "pool-N"
    /// Java's hooks, called by the thread that runs the task. What before_execute throws ends the thread, and
    /// the task is dropped. after_execute gets what the task threw, null if nothing; a submitted one's
    /// failure is in its Future.
    std::function<void(const Task&)> before_execute{};
    std::function<void(const Task&, std::exception_ptr)> after_execute{};
    std::function<void()> terminated{};  ///< once, by the last thread, before is_terminated()
    RejectionHandler on_rejected{};      ///< not null: in place of `rejection`
  };

  /// Throws Error if the sizes contradict each other, or if core threads time out at once. Starts no thread
  /// yet.
  explicit ThreadPoolExecutor(Options options);
  /// Shuts down and waits for the tasks, not to be interrupted. Not on a thread of the pool itself.
  ~ThreadPoolExecutor() override;
  ThreadPoolExecutor(const ThreadPoolExecutor&) = delete;
  ThreadPoolExecutor& operator=(const ThreadPoolExecutor&) = delete;

  /// See RejectedError and Options::rejection for what it does with a task that it cannot take. Throws Error
  /// if the task is empty, or if there is no thread at all and the system gives none.
  void execute(Task task) override;
  void shutdown() override;
  std::vector<Task> shutdown_now() override;
  bool is_shutdown() const noexcept override;
  bool is_terminated() const noexcept override;
  /// Shut down, but tasks still run.
  bool is_terminating() const noexcept { return is_shutdown() && !is_terminated(); }
  bool await_termination(Deadline deadline = {}) override;

  /// Starts a core thread that waits for work; false if all are there. Throws Error if the system gives none.
  bool prestart_core_thread();
  /// Starts all that are missing; returns how many.
  std::size_t prestart_all_core_threads();

  /// A change holds from now on: surplus threads that wait leave, missing ones start if tasks are queued.
  /// Throws Error if it would be above the maximum.
  void set_core_pool_size(std::size_t size);
  std::size_t core_pool_size() const noexcept;
  /// Throws Error if it would be 0 or below the core.
  void set_maximum_pool_size(std::size_t size);
  std::size_t maximum_pool_size() const noexcept;
  /// Throws Error if it is negative, or 0 while core threads time out.
  void set_keep_alive_time(std::chrono::nanoseconds time);
  std::chrono::nanoseconds keep_alive_time() const noexcept;
  /// Throws Error if the keep-alive time is 0.
  void allow_core_thread_time_out(bool on);
  bool allows_core_thread_time_out() const noexcept;
  /// Also ends the service of a handler of one's own.
  void set_rejection(Rejection rejection);
  /// Null: back to rejection().
  void set_rejection(RejectionHandler handler);
  Rejection rejection() const noexcept;
  /// Null if there is none and rejection() says what happens.
  RejectionHandler rejection_handler() const;
  /// For threads from now on; null: platform threads named after the pool.
  void set_thread_factory(ThreadFactory factory);
  ThreadFactory thread_factory() const;
  const std::string& name() const noexcept;

  /// The tasks that wait: to look at, and for monitoring. What is taken out does not run.
  BlockingQueue<Task>& queue() const noexcept;
  /// Drops the submitted tasks in the queue whose futures were cancelled; returns how many. Without it they
  /// stay until a thread comes to them.
  std::size_t purge();
  /// Takes the task of `future` out of the queue and cancels the future; false if the task is not in the
  /// queue (it runs, has ended, or is another executor's).
  template <typename T>
  bool remove(const Future<T>& future) {
    return remove_task_of(future.shared_state().get());
  }

  /// For monitoring, as Java's getters of these names. Threads now, those of them that run a task, and the
  /// most there have been at a time; tasks that have ended, and those with what runs and what waits.
  std::size_t pool_size() const { return counts().threads; }
  std::size_t active_count() const { return counts().active; }
  std::size_t largest_pool_size() const { return counts().largest; }
  std::uint64_t completed_task_count() const { return counts().completed; }
  std::uint64_t task_count() const {
    const Counts now = counts();
    return now.completed + now.active + now.queued;
  }
  /// All of these at about one moment.
  struct Counts {
    std::size_t threads = 0, active = 0, largest = 0, queued = 0;
    std::uint64_t completed = 0;
  };
  Counts counts() const;

 private:
  friend class ScheduledThreadPoolExecutor;
  void ensure_worker();
  void reject(Task task);
  bool remove_task_of(const detail::FutureCore* future);

  class State;
  std::shared_ptr<State> state_;  // the threads hold it too
};

}  // namespace creel
