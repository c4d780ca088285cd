#pragma once

#include "executor_gauges.hpp"
#include "failed_threads.hpp"
#include "task_queue.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread_container.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <vector>

namespace creel {

// The pool's threads share it, so that the last one may still leave while the executor is destroyed.
class ThreadPoolExecutor::State : public std::enable_shared_from_this<State> {
 public:
  explicit State(Options options);

  void execute(Task task, ThreadPoolExecutor& pool);
  bool accept(Task& task);
  void shutdown();
  std::vector<Task> shutdown_now();
  bool is_shutdown() const noexcept { return phase_.load() != Phase::Running; }
  bool is_terminated() const noexcept { return terminated_was_told_.load(); }
  bool await_termination(Deadline deadline);
  void await_termination_uninterruptibly();
  /// Waits for the handlers of what tasks threw, too; after the termination.
  void await_failed_threads();
  Counts counts() const;

  /// Starts a thread with `first` as its first task (or none), if there are fewer than `limit`.
  bool add_worker(Task& first, std::size_t limit);
  void ensure_worker();
  bool prestart();
  void reject(Task& task, ThreadPoolExecutor& pool);
  std::size_t remove_if(const std::function<bool(const Task&)>& unwanted);
  void resize(std::size_t core, std::size_t maximum);
  void set_keep_alive(std::optional<std::chrono::nanoseconds> time, std::optional<bool> core_may_time_out);
  void set_rejection(std::optional<Rejection> rejection, RejectionHandler handler);
  /// The executor is gone; threads may still be on their way out.
  void retire() noexcept { gauges_.reset(); }
  void wake_idle();

  Options options_;  // but for what can be changed:
  std::atomic<std::size_t> core_size_;
  std::atomic<std::size_t> maximum_size_;
  std::atomic<std::chrono::nanoseconds> keep_alive_;
  std::atomic<bool> core_may_time_out_;
  std::atomic<Rejection> rejection_;
  mutable ReentrantLock lock_;  // guards the factory, on_rejected, and what follows below

 private:
  enum class Phase : std::uint8_t { Running, ShutDown, Stopped };
  enum class WorkerEnd : std::uint8_t { Exception, Idle, Shutdown };
  /// Of one thread, and written by it alone, but for Interrupting.
  struct alignas(64) Worker {
    enum class Activity : std::uint8_t { Idle, Running, Interrupting };
    std::atomic<Activity> activity{Activity::Idle};
    std::atomic<std::uint64_t> completed{0};
    Thread thread;
    std::list<Worker>::iterator place;

    void start_task() noexcept;
    void end_task() noexcept;
    void interrupt_if_idle() noexcept;
  };

  void work(Worker& self, Task first);
  void run_task(Worker& self, Task& task);
  std::optional<Task> next_task(WorkerEnd& how);
  bool leave_idle() noexcept;
  void worker_ends(Worker& self, WorkerEnd how) noexcept;
  void announce_termination() noexcept;
  void publish(const std::string& name);
  const Counts& read_counts() noexcept;

  detail::TaskQueue* own_queue_ = nullptr;  // the queue, if it is of our kind
  std::shared_ptr<ThreadContainer> container_;
  std::atomic<Phase> phase_{Phase::Running};
  std::atomic<std::size_t> threads_{0};
  Condition terminated_{lock_};
  std::list<Worker> workers_;
  detail::FailedThreads failed_;
  std::size_t largest_ = 0;
  std::uint64_t completed_by_gone_ = 0;
  std::atomic<bool> terminated_was_told_{false};
  Counts last_read_;  // by the gauges, one after the other
  std::unique_ptr<detail::ExecutorGauges> gauges_;
};

}  // namespace creel
