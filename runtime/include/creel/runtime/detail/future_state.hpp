#pragma once

#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace creel::detail {

/// What a Future and the one that completes it share, but for the value.
class FutureCore {
 public:
  FutureCore() noexcept = default;
  virtual ~FutureCore() = default;
  FutureCore(const FutureCore&) = delete;
  FutureCore& operator=(const FutureCore&) = delete;

  bool is_done() const noexcept { return is_final(load()); }
  bool is_cancelled() const noexcept { return load() == State::Cancelled; }
  /// Waits for the end; false if `deadline` passes first. Throws InterruptedError.
  bool wait(Deadline deadline);
  /// Throws what the work threw, CancelledError, or TimeoutError if `deadline` passes first.
  void wait_for_value(Deadline deadline);
  bool cancel(bool interrupt);
  bool fail(std::exception_ptr exception) noexcept;

  /// The calling thread is going to do the work: dumps show waiters whom they wait for, cancel() can
  /// interrupt. False if there is nothing to do any more.
  bool start_running() noexcept;
  /// The thread of that id is going to complete it: dumps show waiters whom they wait for.
  void set_producer(std::uint64_t id) noexcept {
    if (!is_done()) runner_id_.store(id, std::memory_order_relaxed);
  }

 protected:
  /// Pending → Completing → Done: between the two the value is written by the one that got true here.
  bool start_completing() noexcept;
  void complete(std::exception_ptr failure = nullptr) noexcept;

 private:
  enum class State : std::uint8_t { Pending, Running, Interrupting, Completing, Done, Failed, Cancelled };
  static bool is_final(State state) noexcept { return state >= State::Done; }
  State load() const noexcept { return state_.load(std::memory_order_acquire); }
  void finish(State state) noexcept;

  std::atomic<State> state_{State::Pending};
  std::atomic<std::uint64_t> runner_id_{0};
  ThreadRecord* runner_ = nullptr;  // good while Running and Interrupting: the runner waits for those to end
  std::exception_ptr exception_;
  WaitQueue queue_;
};

struct NoValue {};

template <typename T>
class FutureState : public FutureCore {
 public:
  using Stored = std::conditional_t<std::is_void_v<T>, NoValue, T>;

  template <typename... Arguments>
  bool set(Arguments&&... arguments) {
    if (!start_completing()) return false;
    try {
      value_.emplace(std::forward<Arguments>(arguments)...);
    } catch (...) {
      complete(std::current_exception());
      return true;
    }
    complete();
    return true;
  }
  Stored& value() noexcept { return *value_; }

 private:
  std::optional<Stored> value_;
};

/// A call whose result a Future gets.
template <typename T, typename Function>
class FutureTask final : public FutureState<T> {
 public:
  explicit FutureTask(Function function) : function_(std::in_place, std::move(function)) {}

  void run() {
    if (!this->start_running()) return;
    try {
      if constexpr (std::is_void_v<T>) {
        std::invoke(*function_);
        function_.reset();  // before the waiters go on: they may expect what it captured to be free
        this->set();
      } else {
        T value = std::invoke(*function_);
        function_.reset();
        this->set(std::move(value));
      }
    } catch (...) {
      function_.reset();
      this->fail(std::current_exception());
    }
  }

 private:
  std::optional<Function> function_;
};

/// What an executor gets: runs the task, or cancels it if it is dropped without having run, so that nobody
/// waits for it for ever.
template <typename AnyFutureTask>
class FutureTaskRun {
 public:
  explicit FutureTaskRun(std::shared_ptr<AnyFutureTask> task) noexcept : task_(std::move(task)) {}
  FutureTaskRun(FutureTaskRun&&) noexcept = default;
  FutureTaskRun& operator=(FutureTaskRun&&) = delete;
  ~FutureTaskRun() {
    if (task_ != nullptr) task_->cancel(false);
  }
  void operator()() { std::exchange(task_, nullptr)->run(); }

 private:
  std::shared_ptr<AnyFutureTask> task_;
};

}  // namespace creel::detail
