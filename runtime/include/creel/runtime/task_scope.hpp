#pragma once

#include <creel/runtime/detail/task_scope_core.hpp>
#include <creel/runtime/error.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

/// TaskScope::join() has no result: a subtask failed, or whatever else its joiner's result() threw; that is
/// the cause. Java's FailedException.
class FailedError : public Error {
 public:
  explicit FailedError(std::exception_ptr cause,
                       std::source_location where = std::source_location::current());
  const std::exception_ptr& cause() const noexcept { return cause_; }

 private:
  std::exception_ptr cause_;
};

/// A forked task, whatever it returns. A handle: copies name the same subtask, also when its scope is closed.
class AnySubtask {
 public:
  explicit AnySubtask(std::shared_ptr<detail::SubtaskCore> core) noexcept : core_(std::move(core)) {}

  SubtaskState state() const noexcept { return core_->state(); }
  /// What it threw. Throws Error unless it is Failed, and on the scope's owner before join().
  const std::exception_ptr& exception() const { return core_->exception(); }

  friend bool operator==(const AnySubtask& a, const AnySubtask& b) noexcept { return a.core_ == b.core_; }

 protected:
  std::shared_ptr<detail::SubtaskCore> core_;
};

namespace detail {

template <typename T>
class SubtaskResult : public SubtaskCore {
 public:
  using Stored = std::conditional_t<std::is_void_v<T>, bool, T>;
  using SubtaskCore::SubtaskCore;
  Stored& value() noexcept { return *value_; }

 protected:
  std::optional<Stored> value_;
};

}  // namespace detail

/// A forked task that returns a T; java.util.concurrent.StructuredTaskScope.Subtask.
template <typename T>
class Subtask : public AnySubtask {
 public:
  explicit Subtask(std::shared_ptr<detail::SubtaskResult<T>> core) noexcept : AnySubtask(std::move(core)) {}

  /// What it returned; good while a handle exists. Throws Error unless it is a Success, and on the scope's
  /// owner before join().
  std::add_lvalue_reference_t<const T> get() const {
    core_->check_success();
    if constexpr (!std::is_void_v<T>) return stored();
  }
  /// The value moved out if it cannot be copied, else copied.
  T take() const requires(!std::is_void_v<T>) {
    core_->check_success();
    if constexpr (std::copy_constructible<T>) {
      return stored();
    } else {
      return std::move(stored());
    }
  }

 private:
  auto& stored() const { return static_cast<detail::SubtaskResult<T>&>(*core_).value(); }
};

/// How a joiner of element type T is shown a subtask; of type void: without its value, since its scope takes
/// functions of any type.
template <typename T>
using JoinedSubtask = std::conditional_t<std::is_void_v<T>, AnySubtask, Subtask<T>>;

/// Decides when a TaskScope has seen enough, and what its join() returns;
/// java.util.concurrent.StructuredTaskScope.Joiner. For one scope only.
///
///     struct FirstPrice final : creel::Joiner<Price, Price> {
///       bool on_complete(const creel::Subtask<Price>& offer) override { … return good_enough; }
///       Price result() override { … }
///     } joiner;
///     creel::TaskScope scope{joiner};
template <typename T, typename R>
class Joiner {
 public:
  virtual ~Joiner() = default;
  /// A subtask is about to be forked, by the scope's owner; true cancels the scope instead. What it throws,
  /// fork() throws.
  virtual bool on_fork(const JoinedSubtask<T>& subtask) {
    static_cast<void>(subtask);
    return false;
  }
  /// A subtask has succeeded or failed, and the scope was not cancelled before; true cancels it. Called on
  /// the subtask's thread, for several at once. What it throws goes to that thread's uncaught-exception
  /// handler.
  virtual bool on_complete(const JoinedSubtask<T>& subtask) {
    static_cast<void>(subtask);
    return false;
  }
  /// The result of join(), on the scope's owner, after all subtasks have ended or the scope was cancelled.
  /// on_complete() may still run. What it throws is the cause of join()'s FailedError.
  virtual R result() = 0;
};

namespace detail {

template <typename T, typename R, typename Value, typename Function>
class ForkedSubtask final : public SubtaskResult<Value> {
 public:
  ForkedSubtask(std::shared_ptr<TaskScopeCore> scope, Joiner<T, R>& joiner, Function&& function)
      : SubtaskResult<Value>(std::move(scope)),
        joiner_(joiner),
        function_(std::in_place, std::move(function)) {}
  ForkedSubtask(std::shared_ptr<TaskScopeCore> scope, Joiner<T, R>& joiner, const Function& function)
      : SubtaskResult<Value>(std::move(scope)), joiner_(joiner), function_(std::in_place, function) {}

 private:
  void run() override {
    try {
      if constexpr (std::is_void_v<Value>) {
        std::invoke(*function_);
      } else {
        this->value_.emplace(std::invoke(*function_));
      }
    } catch (...) {
      function_.reset();
      throw;
    }
    function_.reset();  // here: the subtask may be asked for its result long after its scope
  }
  void drop() noexcept override { function_.reset(); }
  bool tell_joiner() override {
    const auto self = std::static_pointer_cast<SubtaskResult<Value>>(this->shared_from_this());
    return joiner_.on_complete(Subtask<Value>(self));
  }

  Joiner<T, R>& joiner_;
  std::optional<Function> function_;
};

}  // namespace detail

/// Joiners for the usual policies: Java's static methods of Joiner.
namespace joiners {

/// All values in the order of the forks; the first failure cancels the scope and is the cause of join()'s
/// FailedError. Move-only values are moved out of their subtasks.
template <typename T>
requires(!std::is_void_v<T>) std::unique_ptr<Joiner<T, std::vector<T>>> all_successful_or_throw();

/// The value of the first subtask that succeeds, which cancels the scope; if none does, the first failure is
/// the cause of join()'s FailedError.
template <typename T>
requires(!std::is_void_v<T>) std::unique_ptr<Joiner<T, T>> any_successful_or_throw();

/// No result: for subtasks of different types, asked by their handles. The first failure cancels the scope
/// and is the cause of join()'s FailedError. What a TaskScope does that is given no joiner.
std::unique_ptr<Joiner<void, void>> await_all_successful_or_throw();

/// No result, and failures cancel nothing: join() waits for the end of all subtasks.
std::unique_ptr<Joiner<void, void>> await_all();

/// All subtasks in the order of the forks, ended or not; `is_enough`, called for each that succeeds or fails,
/// for several at once, cancels the scope by returning true.
template <typename T>
std::unique_ptr<Joiner<T, std::vector<JoinedSubtask<T>>>> all_until(
    std::function<bool(const JoinedSubtask<T>&)> is_enough);

}  // namespace joiners

/// Splits work into subtasks on threads of their own and ends when all of them have: structured concurrency,
/// java.util.concurrent.StructuredTaskScope of JEP 505.
///
///     using creel::joiners::all_successful_or_throw;
///     creel::TaskScope scope{all_successful_or_throw<Cover>(), {.name = "covers", .deadline = 2s}};
///     for (const Book& book : books) scope.fork([&book] { return load_cover(book); });
///     std::vector<Cover> covers = scope.join();
///
///     creel::TaskScope scope;  // subtasks of any type, all must succeed
///     creel::Subtask<User> user = scope.fork([&] { return find_user(id); });
///     creel::Subtask<int> order = scope.fork([&] { return next_order(id); });
///     scope.join();
///     return Response{user.get(), order.get()};
///
/// The thread that opens a scope owns it: it forks, joins once, and closes, which the destructor does. When
/// the joiner says so, or the deadline has passed, the scope is cancelled: the threads of its subtasks are
/// interrupted, no more are started, and what ends later stays Unavailable. Closing cancels what still runs
/// and waits for the end of every thread, however long that takes; so a subtask may use what the owner made
/// before the scope. A deadline is acted on whatever the owner does.
///
/// Subtasks see the ScopedValues that are bound where the scope is opened. Dumps show scopes as a tree, with
/// the owner and the threads of each. A scope belongs on the stack: it must be closed on its thread before
/// those around it and before the call of ScopedBindings that it was opened in; if it is not, these close it.
///
/// Memory effects: what the owner did before fork() happens before the subtask; the subtask happens before
/// join() returns, if it has not been cancelled, and before close() returns in any case.
template <typename T = void, typename R = void>
class TaskScope {
 public:
  /// With joiners::await_all_successful_or_throw().
  explicit TaskScope(TaskScopeOptions options = {}) requires(std::is_void_v<T>&& std::is_void_v<R>)
      : TaskScope(joiners::await_all_successful_or_throw(), std::move(options)) {}
  /// With one of `joiners`, or any other that the scope may own.
  explicit TaskScope(std::unique_ptr<Joiner<T, R>> joiner, TaskScopeOptions options = {})
      : TaskScope(*joiner, std::move(options)) {
    owned_joiner_ = std::move(joiner);
  }
  /// With the caller's joiner, which must live longer than the scope.
  explicit TaskScope(Joiner<T, R>& joiner, TaskScopeOptions options = {})
      : joiner_(joiner), core_(detail::TaskScopeCore::open(std::move(options))) {}
  /// close(), with what it would throw logged. On another thread than the owner's it terminates the program.
  ~TaskScope() { core_->close_in_destructor(); }
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  /// Calls `function()` on a thread of its own, unless the scope is cancelled; then the subtask stays
  /// Unavailable, and so does one whose thread has not begun when the scope is cancelled: a function that has
  /// to run whatever happens is not a subtask. Owner only, before join(); Error otherwise. Throws what the
  /// thread factory throws.
  template <typename Function>
  auto fork(Function&& function) {
    using Result = std::decay_t<std::invoke_result_t<std::decay_t<Function>&>>;
    static_assert(std::is_void_v<T> || std::is_convertible_v<Result, T>,
                  "the function must return what the scope's joiner takes");
    using Value = std::conditional_t<std::is_void_v<T>, Result, T>;
    using Core = detail::ForkedSubtask<T, R, Value, std::decay_t<Function>>;
    core_->check_fork();
    const auto forked = std::make_shared<Core>(core_, joiner_, std::forward<Function>(function));
    Subtask<Value> subtask{forked};
    if (joiner_.on_fork(subtask)) core_->cancel();
    core_->start(forked);
    return subtask;
  }

  /// Waits until all subtasks have ended or the scope is cancelled, then returns the joiner's result. Owner
  /// only, once; Error otherwise. Throws FailedError with what the joiner threw; TimeoutError if the deadline
  /// passed before; InterruptedError. After either of these two, closing cancels the subtasks.
  R join() {
    core_->join();
    try {
      return joiner_.result();
    } catch (...) {
      throw FailedError(std::current_exception());
    }
  }

  /// True if the joiner, the deadline or close() has cancelled it; the subtasks may still be ending.
  bool is_cancelled() const noexcept { return core_->is_cancelled(); }

  /// Cancels the subtasks that still run and waits until all threads have ended; interrupt() does not end it.
  /// Then nothing, if it is closed already. Owner only. Throws Error, after it has closed, if scopes inside
  /// it were open, or if the owner has forked and not joined.
  void close() { core_->close(); }

 private:
  Joiner<T, R>& joiner_;
  std::unique_ptr<Joiner<T, R>> owned_joiner_;
  const std::shared_ptr<detail::TaskScopeCore> core_;
};

TaskScope()->TaskScope<void, void>;
TaskScope(TaskScopeOptions)->TaskScope<void, void>;

namespace detail {

/// Keeps the first failure, for joiners that throw it.
class FirstFailure {
 public:
  /// True if it is the first.
  bool keep(const AnySubtask& subtask) {
    const std::lock_guard guard{lock_};
    if (exception_ != nullptr) return false;
    exception_ = subtask.exception();
    return true;
  }
  void rethrow() const {
    const std::lock_guard guard{lock_};
    if (exception_ != nullptr) std::rethrow_exception(exception_);
  }

 private:
  mutable std::mutex lock_;  // a subtask that completes late may be here beside result()
  std::exception_ptr exception_;
};

template <typename T>
class AllSuccessful final : public Joiner<T, std::vector<T>> {
 public:
  bool on_fork(const Subtask<T>& subtask) override {
    subtasks_.push_back(subtask);
    return false;
  }
  bool on_complete(const Subtask<T>& subtask) override {
    return subtask.state() == SubtaskState::Failed && failure_.keep(subtask);
  }
  std::vector<T> result() override {
    failure_.rethrow();
    std::vector<T> values;
    values.reserve(subtasks_.size());
    for (const Subtask<T>& subtask : subtasks_) values.push_back(subtask.take());
    return values;
  }

 private:
  std::vector<Subtask<T>> subtasks_;  // the owner's: forks and result() are its calls
  FirstFailure failure_;
};

template <typename T>
class AnySuccessful final : public Joiner<T, T> {
 public:
  bool on_complete(const Subtask<T>& subtask) override {
    if (subtask.state() == SubtaskState::Failed) {
      failure_.keep(subtask);
      return false;
    }
    const std::lock_guard guard{lock_};
    if (!first_) first_ = subtask;
    return true;
  }
  T result() override {
    const std::optional<Subtask<T>> first = [this] {
      const std::lock_guard guard{lock_};
      return first_;
    }();
    if (first) return first->take();
    failure_.rethrow();
    throw Error("no subtask was forked, so none succeeded");
  }

 private:
  std::mutex lock_;
  std::optional<Subtask<T>> first_;
  FirstFailure failure_;
};

template <typename T>
class AllUntil final : public Joiner<T, std::vector<JoinedSubtask<T>>> {
 public:
  explicit AllUntil(std::function<bool(const JoinedSubtask<T>&)> is_enough)
      : is_enough_(std::move(is_enough)) {}
  bool on_fork(const JoinedSubtask<T>& subtask) override {
    subtasks_.push_back(subtask);
    return false;
  }
  bool on_complete(const JoinedSubtask<T>& subtask) override { return is_enough_(subtask); }
  std::vector<JoinedSubtask<T>> result() override { return std::move(subtasks_); }

 private:
  const std::function<bool(const JoinedSubtask<T>&)> is_enough_;
  std::vector<JoinedSubtask<T>> subtasks_;
};

}  // namespace detail

template <typename T>
requires(!std::is_void_v<T>) std::unique_ptr<Joiner<T, std::vector<T>>> joiners::all_successful_or_throw() {
  return std::make_unique<detail::AllSuccessful<T>>();
}

template <typename T>
requires(!std::is_void_v<T>) std::unique_ptr<Joiner<T, T>> joiners::any_successful_or_throw() {
  return std::make_unique<detail::AnySuccessful<T>>();
}

template <typename T>
std::unique_ptr<Joiner<T, std::vector<JoinedSubtask<T>>>> joiners::all_until(
    std::function<bool(const JoinedSubtask<T>&)> is_enough) {
  return std::make_unique<detail::AllUntil<T>>(std::move(is_enough));
}

}  // namespace creel
