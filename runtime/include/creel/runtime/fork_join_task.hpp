#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/fork_join_pool.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

namespace creel {
namespace detail {

/// A ForkJoinTask but for its value.
class ForkJoinTaskCore : public ForkJoinNode {
 public:
  virtual ~ForkJoinTaskCore();

  /// Returned, thrown or cancelled.
  bool is_done() const noexcept { return is_final(load()); }
  bool is_completed_normally() const noexcept { return phase() == kDone; }
  bool is_completed_abnormally() const noexcept { return phase() > kDone; }
  bool is_cancelled() const noexcept { return phase() == kCancelled || phase() == kDropping; }
  /// What it threw, or a CancelledError; null if it has not ended so.
  std::exception_ptr exception() const noexcept;

  /// Keeps it from running if it has not begun; true if it is cancelled, now or before. It is done when a
  /// worker has let go of it: join() waits for that.
  bool cancel() noexcept;
  /// Takes it back from the calling worker's own deque, if it lies on top: the caller may then invoke() it.
  bool try_unfork() noexcept;
  /// As join() and invoke(), but what it throws is only kept.
  void quietly_join() noexcept;
  void quietly_invoke();
  /// Ready to be forked again; only when it is done.
  void reinitialize() noexcept;

 protected:
  ForkJoinTaskCore() noexcept : ForkJoinNode(run) {}

  /// Calls the task's function and keeps its value.
  virtual void execute() = 0;

  void fork_here();
  /// Waits, to be interrupted, until it is done; throws TimeoutError, InterruptedError.
  void wait_done(Deadline deadline);
  void rethrow() const;

 private:
  friend class creel::ForkJoinPool;
  static void run(ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept;
  bool begin() noexcept;
  void finish(std::uint32_t state) noexcept;
  std::uint32_t load() const noexcept { return state_.load(std::memory_order_acquire); }
  std::uint32_t phase() const noexcept { return load() & kPhase; }

  ForkJoinState* pool_ = nullptr;  // where it was forked
  std::exception_ptr failure_;
  WaitQueue waiters_;  // from outside of that pool
};

}  // namespace detail

/// Work as an object that can be forked, joined and looked at; java.util.concurrent.ForkJoinTask. Derive from
/// RecursiveTask or RecursiveAction.
///
/// A task that was forked must be done before it is destroyed: join it, whatever happens. A task runs once,
/// until reinitialize(). Memory effects: what happened before fork() happens before the task; the task
/// happens before join() returns.
template <typename T>
class ForkJoinTask : public detail::ForkJoinTaskCore {
 public:
  /// Puts it into the calling worker's deque; elsewhere into the common pool. Returns itself.
  ForkJoinTask& fork() {
    fork_here();
    return *this;
  }
  /// Waits for its value, not to be interrupted, or rethrows what it threw; CancelledError. On a worker of
  /// the pool in which it was forked it runs the task itself if nobody has taken it, else others meanwhile.
  decltype(auto) join() {
    quietly_join();
    rethrow();
    return value();
  }
  /// Runs it on the calling worker; elsewhere in the common pool, and waits.
  decltype(auto) invoke() {
    quietly_invoke();
    rethrow();
    return value();
  }
  /// As join(), but throws InterruptedError, and TimeoutError if `deadline` passes first: then it is still in
  /// the pool.
  decltype(auto) get(Deadline deadline = {}) {
    wait_done(deadline);
    rethrow();
    return value();
  }

 protected:
  /// The work.
  virtual T compute() = 0;

 private:
  void execute() final {
    if constexpr (std::is_void_v<T>) {
      compute();
    } else {
      value_.emplace(compute());
    }
  }
  std::add_lvalue_reference_t<T> value() {
    if constexpr (!std::is_void_v<T>) return *value_;
  }

  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value_;
};

/// A task with a value; java.util.concurrent.RecursiveTask.
///
///     struct Sum final : creel::RecursiveTask<std::int64_t> {
///       explicit Sum(std::span<const int> its_numbers) : numbers(its_numbers) {}
///       std::int64_t compute() override {
///         if (numbers.size() < 1000) return std::reduce(numbers.begin(), numbers.end(), std::int64_t{0});
///         Sum left(numbers.first(numbers.size() / 2));
///         Sum right(numbers.subspan(numbers.size() / 2));
///         creel::invoke_all(left, right);
///         return left.join() + right.join();
///       }
///       std::span<const int> numbers;
///     };
///
/// fork_join() does the same several times faster.
template <typename T>
class RecursiveTask : public ForkJoinTask<T> {};

/// A task without a value; java.util.concurrent.RecursiveAction.
class RecursiveAction : public ForkJoinTask<void> {};

/// Runs tasks that may run at the same time and returns when all are done. Rethrows what the first of them,
/// in the order given, threw.
template <std::derived_from<detail::ForkJoinTaskCore>... Tasks>
void invoke_all(Tasks&... tasks);

/// The same for a range of tasks, or of pointers to them.
template <typename Range>
requires requires(Range& range) { std::begin(range); }
void invoke_all(Range& tasks);

namespace detail {

template <typename T>
auto& fork_join_task(T& task) {
  if constexpr (std::derived_from<T, ForkJoinTaskCore>) {
    return task;
  } else {
    return *task;
  }
}

}  // namespace detail

template <typename Range>
requires requires(Range& range) { std::begin(range); }
void invoke_all(Range& tasks) {
  const auto begin = std::begin(tasks);
  if (begin == std::end(tasks)) return;
  for (auto at = std::next(begin); at != std::end(tasks); ++at) detail::fork_join_task(*at).fork();
  detail::fork_join_task(*begin).quietly_invoke();
  // All of them, before anything is thrown: they may lie on the caller's stack. Backwards, the last forked
  // first.
  for (auto at = std::end(tasks); --at != begin;) detail::fork_join_task(*at).quietly_join();
  for (auto& task : tasks) detail::fork_join_task(task).join();
}

template <std::derived_from<detail::ForkJoinTaskCore>... Tasks>
void invoke_all(Tasks&... tasks) {
  const auto run = [](auto& self, auto& first, auto&... rest) -> void {
    if constexpr (sizeof...(rest) == 0) {
      first.quietly_invoke();
    } else {
      first.fork();
      self(self, rest...);
      first.quietly_join();
    }
  };
  run(run, tasks...);
  (static_cast<void>(tasks.join()), ...);
}

/// A task object that calls `function()`; java.util.concurrent.ForkJoinTask.adapt.
template <std::invocable Function>
class AdaptedTask final : public ForkJoinTask<std::invoke_result_t<Function&>> {
 public:
  explicit AdaptedTask(Function function) : function_(std::move(function)) {}

 private:
  std::invoke_result_t<Function&> compute() override { return std::invoke(function_); }
  Function function_;
};

}  // namespace creel
