#pragma once

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
  void shutdown();
  std::vector<Task> shutdown_now();
  bool is_shutdown() const noexcept { return phase_.load() != Phase::Running; }
  bool is_terminated() const noexcept {
    return is_shutdown() && threads_.load() == 0 && options_.queue->empty();
  }
  bool await_termination(Deadline deadline);
  void await_termination_uninterruptibly();
  Counts counts() const;

  /// Starts a thread with `first` as its first task (or none), if there are fewer than `limit`.
  bool add_worker(Task& first, std::size_t limit);
  void ensure_worker();
  bool prestart();
  void resize(std::size_t core, std::size_t maximum);
  void wake_idle();

  Options options_;  // but for what can be changed:
  std::atomic<std::size_t> core_size_;
  std::atomic<std::size_t> maximum_size_;
  std::atomic<std::chrono::nanoseconds> keep_alive_;
  std::atomic<bool> core_may_time_out_;
  std::atomic<Rejection> rejection_;
  mutable ReentrantLock lock_;  // guards the factory, and what follows below

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
  void reject(Task& task, ThreadPoolExecutor& pool);

  detail::TaskQueue* own_queue_ = nullptr;  // the queue, if it is of our kind
  std::shared_ptr<ThreadContainer> container_;
  std::atomic<Phase> phase_{Phase::Running};
  std::atomic<std::size_t> threads_{0};
  Condition terminated_{lock_};
  std::list<Worker> workers_;
  std::size_t largest_ = 0;
  std::uint64_t completed_by_gone_ = 0;
  bool announced_ = false;
};

}  // namespace creel
