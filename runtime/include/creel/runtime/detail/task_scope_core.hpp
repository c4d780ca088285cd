#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/scheduled_executor.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/waker_set.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel {

struct Blocker;

/// Java's Subtask.State. to_string gives Java's spelling, "SUCCESS".
enum class SubtaskState : std::uint8_t {
  Unavailable,  ///< not ended yet, or its scope was cancelled first
  Success,
  Failed,
};
std::string_view to_string(SubtaskState state) noexcept;

/// What a TaskScope may be told when it is opened; java.util.concurrent.StructuredTaskScope.Configuration.
struct TaskScopeOptions {
  std::string name = {};       ///< stands in dumps; may be empty
  ThreadFactory factory = {};  ///< makes the threads; virtual ones without names if empty
  Deadline deadline = {};      ///< for all of it: see TaskScope
};

namespace detail {

struct ScopedBinding;
class TaskScopeCore;

/// A forked task and its outcome, but for the value.
class SubtaskCore : public std::enable_shared_from_this<SubtaskCore> {
 public:
  explicit SubtaskCore(std::shared_ptr<TaskScopeCore> scope) noexcept : scope_(std::move(scope)) {}
  virtual ~SubtaskCore() = default;
  SubtaskCore(const SubtaskCore&) = delete;
  SubtaskCore& operator=(const SubtaskCore&) = delete;

  SubtaskState state() const noexcept { return state_.load(std::memory_order_acquire); }
  /// Throws Error if the caller may not ask yet or the state is another one.
  void check_success() const;
  const std::exception_ptr& exception() const;

 private:
  friend class TaskScopeCore;
  /// Calls the function and keeps its value; destroys the function, also if it throws.
  virtual void run() = 0;
  /// Destroys the function, which will not be called.
  virtual void drop() noexcept = 0;
  /// Tells the joiner; true to cancel the scope.
  virtual bool tell_joiner() = 0;
  void check_joined() const;

  const std::shared_ptr<TaskScopeCore> scope_;
  std::atomic<SubtaskState> state_{SubtaskState::Unavailable};
  std::exception_ptr exception_;
  // While it runs and is not interrupted, in the scope's list of what cancel() interrupts.
  ThreadRecord* thread_ = nullptr;
  SubtaskCore* previous_ = nullptr;
  SubtaskCore* next_ = nullptr;
};

/// What all TaskScopes are, whatever their joiners and results.
class TaskScopeCore : public std::enable_shared_from_this<TaskScopeCore> {
 public:
  static std::shared_ptr<TaskScopeCore> open(TaskScopeOptions options);
  explicit TaskScopeCore(TaskScopeOptions options);
  ~TaskScopeCore();
  TaskScopeCore(const TaskScopeCore&) = delete;
  TaskScopeCore& operator=(const TaskScopeCore&) = delete;

  /// Throws Error unless the calling thread may fork now.
  void check_fork();
  /// Runs the subtask on a new thread, unless the scope is cancelled.
  void start(std::shared_ptr<SubtaskCore> subtask);
  /// Waits for all subtasks, or cancellation.
  void join();
  void cancel() noexcept { cancel(false); }
  bool is_cancelled() const noexcept { return is_cancelled_.load(std::memory_order_acquire); }
  void close();
  void close_in_destructor() noexcept;

 private:
  friend class SubtaskCore;
  friend TaskScopeCore* innermost_task_scope(const ThreadRecord& self) noexcept;
  friend void close_task_scopes_within(ThreadRecord& self, TaskScopeCore* outer) noexcept;
  enum class Phase : std::uint8_t { Open, Forked, JoinBegun, Joined, Closed };

  void check_owner(const char* what) const;
  void cancel(bool by_deadline) noexcept;
  void start_timer();
  void stop_timer() noexcept;
  Blocker blocker_of_owner() const noexcept;
  void await_subtasks_known() noexcept;
  void declare_subtasks() noexcept;
  void run(SubtaskCore& subtask);
  bool enter(SubtaskCore& subtask);
  void leave(SubtaskCore& subtask) noexcept;
  void unlink(SubtaskCore& subtask) noexcept;
  void end_one() noexcept;
  void close_this() noexcept;
  std::string quoted_name() const;

  const TaskScopeOptions options_;
  ThreadRecord& owner_;
  const std::uint64_t owner_id_;
  const ScopedBinding* const bindings_;  // bound where it was opened, inherited by its threads
  TaskScopeCore* const outer_;           // the owner's scope around this one
  std::shared_ptr<ThreadContainer> container_;
  const int exceptions_at_open_;
  std::atomic<Phase> phase_{Phase::Open};  // changed by the owner; Subtask handles ask for it anywhere
  std::atomic<bool> is_cancelled_{false};
  std::atomic<bool> is_timed_out_{false};  // the deadline has cancelled it
  ScheduledFuture<void> timer_;            // the owner's
  std::atomic<std::uint64_t> running_{0};
  WaitQueue ended_;
  std::mutex lock_;  // guards what follows; never held across a wait
  SubtaskCore* first_ = nullptr;
  std::size_t entering_ = 0;  // started, and not in the list yet
  bool is_awaited_ = false;   // by the owner, who forks no more
  WakerSet subtasks_;         // those that it waits for, for the search for deadlocks; set when all are known
  // Threads whose subtasks are over, the ended ones thrown out now and then; close() joins them.
  static constexpr std::size_t kFewEnding = 64;
  std::vector<Thread> ending_;
  std::size_t ending_limit_ = kFewEnding;
};

/// The innermost scope that the calling thread, `self`, has opened and not closed; nullptr if there is none.
TaskScopeCore* innermost_task_scope(const ThreadRecord& self) noexcept;
/// Closes those that are open inside `outer`, from the innermost outwards.
void close_task_scopes_within(ThreadRecord& self, TaskScopeCore* outer) noexcept;

}  // namespace detail
}  // namespace creel
