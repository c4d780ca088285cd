#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace creel {

/// Threads that work through a queue of tasks; java.util.concurrent.ThreadPoolExecutor.
///
/// A task starts a new thread while there are fewer than `core_size`; else it goes into the queue; if the
/// queue is full it starts a new thread while there are fewer than `maximum_size`; else it is rejected. Dumps
/// list the threads under the pool's name.
///
///     creel::ThreadPoolExecutor pool{{.core_size = 4, .name = "decode"}};
///     auto image = pool.submit([&] { return decode(bytes); });
class ThreadPoolExecutor final : public ExecutorService {
 public:
  /// What happens to a task that finds neither room nor a thread, or comes after shutdown.
  enum class Rejection : std::uint8_t {
    Abort,          ///< execute() throws RejectedError
    CallerRuns,     ///< the calling thread runs it; after shutdown it is dropped
    Discard,        ///< it is dropped
    DiscardOldest,  ///< the oldest one in the queue is dropped for it; after shutdown it is dropped itself
  };

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
  };

  /// Throws Error if the sizes contradict each other. Starts no thread yet.
  explicit ThreadPoolExecutor(Options options);
  /// Shuts down and waits for the tasks, not to be interrupted. Not on a thread of the pool itself.
  ~ThreadPoolExecutor() override;
  ThreadPoolExecutor(const ThreadPoolExecutor&) = delete;
  ThreadPoolExecutor& operator=(const ThreadPoolExecutor&) = delete;

  void execute(Task task) override;
  void shutdown() override;
  std::vector<Task> shutdown_now() override;
  bool is_shutdown() const noexcept override;
  bool is_terminated() const noexcept override;
  bool await_termination(Deadline deadline = {}) override;

  /// Threads now, and those that run a task, and the most there were; tasks that have ended, and that wait.
  struct Counts {
    std::size_t threads = 0, active = 0, largest = 0, queued = 0;
    std::uint64_t completed = 0;
  };
  Counts counts() const;

 private:
  class State;
  std::shared_ptr<State> state_;  // the threads hold it too
};

}  // namespace creel
