#pragma once

#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace creel::detail {

class FutureCore;
class Completions;

/// A counted pointer to what a future's handles, the one who completes it and its dependents share. Handles
/// count apart, so that a last handle knows that it may move the value out.
template <typename State, std::uint64_t Unit>
class StateRef {
 public:
  StateRef() noexcept = default;
  explicit StateRef(State* state) noexcept : state_(state) {
    if (state_ != nullptr) state_->retain(Unit);
  }
  template <std::derived_from<State> Derived>
  StateRef(const StateRef<Derived, Unit>& other) noexcept  // NOLINT: as between pointers
      : StateRef(other.get()) {}
  StateRef(const StateRef& other) noexcept : StateRef(other.state_) {}
  StateRef(StateRef&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  StateRef& operator=(StateRef other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~StateRef() {
    if (state_ != nullptr) state_->release(Unit);
  }

  State* get() const noexcept { return state_; }
  State* operator->() const noexcept { return state_; }
  State& operator*() const noexcept { return *state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }
  /// Hands its count over to the caller.
  State* detach() noexcept { return std::exchange(state_, nullptr); }

 private:
  State* state_ = nullptr;
};

inline constexpr std::uint64_t kHandleUnit = 1;
inline constexpr std::uint64_t kWorkUnit = std::uint64_t{1} << 32;
template <typename State>
using HandleRef = StateRef<State, kHandleUnit>;
template <typename State>
using WorkRef = StateRef<State, kWorkUnit>;

/// A place in the list of those that go on when a future has ended. It lies in the dependent, which the list
/// keeps alive; the dependent does not keep the future alive, so that an abandoned chain is no cycle.
struct DependentLink {
  FutureCore* dependent = nullptr;
  DependentLink* previous = nullptr;
  DependentLink* next = nullptr;
};

/// What a Future and the one that completes it share, but for the value.
class FutureCore {
 public:
  explicit FutureCore(bool interruptible = false) noexcept : interruptible_(interruptible) {}
  virtual ~FutureCore();
  FutureCore(const FutureCore&) = delete;
  FutureCore& operator=(const FutureCore&) = delete;

  void retain(std::uint64_t unit) noexcept { references_.fetch_add(unit, std::memory_order_relaxed); }
  void release(std::uint64_t unit) noexcept {
    // acq_rel: what others did with it happens before its destructor.
    if (references_.fetch_sub(unit, std::memory_order_acq_rel) == unit) last_reference_gone();
  }

  enum class State : std::uint8_t { Pending, Running, Interrupting, Completing, Done, Failed, Cancelled };
  State state() const noexcept { return state_of(word_.load(std::memory_order_acquire)); }
  // One whose runner is being interrupted counts already: the task that the interrupt ends may ask.
  bool is_done() const noexcept { return is_final(state()) || state() == State::Interrupting; }
  bool is_cancelled() const noexcept {
    const State now = state();
    return now == State::Cancelled || now == State::Interrupting;
  }

  /// Waits for the end; false if `deadline` passes first. Throws InterruptedError. `type` stands in dumps.
  bool wait(Deadline deadline, const char* type);
  /// The same, but interrupt() does not end it; the interrupt flag is kept.
  bool wait_uninterruptibly(Deadline deadline, const char* type) noexcept;
  /// What it failed with, a CancelledError if it was cancelled; null if there is a value. Once it is done.
  std::exception_ptr failure() const noexcept;
  /// As failure(), and whether that is a CompletionError.
  bool failure_is_wrapped() const noexcept { return wrapped_; }

  /// Ends it without a value; interrupts who works on it if that is wished and there is such a one.
  bool cancel(bool interrupt) noexcept;
  bool fail(std::exception_ptr exception) noexcept;
  bool fail(std::exception_ptr exception, bool wrapped, Completions& rest) noexcept;
  /// Fails it as `source` failed, in a CompletionError; false if `source` has a value.
  bool relay_failure(const FutureCore& source, Completions& rest) noexcept;
  /// Fails it with what is being thrown, in a CompletionError.
  void fail_with_current(Completions& rest) noexcept;
  /// Replaces the outcome of one that is done already.
  void obtrude_failure(std::exception_ptr exception);

  /// The calling thread is going to do the work: dumps show waiters whom they wait for, cancel() can
  /// interrupt. False if there is nothing to do any more.
  bool start_running() noexcept;
  /// Back to before start_running(), for work that is done again and again; false if it was cancelled
  /// meanwhile.
  bool stop_running() noexcept;
  /// The thread of that id is going to complete it: dumps show waiters whom they wait for.
  void set_producer(std::uint64_t id) noexcept {
    if (!is_done()) runner_id_.store(id, std::memory_order_relaxed);
  }

  /// Has `dependent` go on when this one ends; at once, on the calling thread, if it has.
  void add_dependent(DependentLink& link, FutureCore& dependent, Completions& rest);
  void add_dependent(DependentLink& link, FutureCore& dependent);
  std::uint32_t dependents() const noexcept;

 protected:
  /// Pending → Completing → Done: between the two the value is written by the one that got true here.
  bool start_completing() noexcept;
  void finish(State state, Completions& rest) noexcept;
  void finish_failed(std::exception_ptr exception, bool wrapped, Completions& rest) noexcept;

  /// Whether the one handle that asks is all that can reach the value.
  bool is_sole_handle() const noexcept {
    return static_cast<std::uint32_t>(references_.load(std::memory_order_acquire)) == 1 && !had_dependents_;
  }

  /// `source`, which it depends on, has ended. Futures that this ends in turn go to `rest`.
  virtual void source_ended(FutureCore& source, DependentLink& link, Completions& rest) noexcept;
  /// It ended before its work began: what the work captured may go.
  virtual void drop_work() noexcept {}

  /// An outcome that was put in place of another one; those before it stay, since somebody may read them.
  struct Obtruded {
    virtual ~Obtruded() = default;
    std::exception_ptr exception;
    std::unique_ptr<Obtruded> before;
  };
  void obtrude(std::unique_ptr<Obtruded> outcome) noexcept;
  const Obtruded* obtruded() const noexcept { return obtruded_.load(std::memory_order_acquire); }

 private:
  friend class Completions;
  // Beside the state in word_: whoever ends it has somebody to tell.
  static constexpr std::uint32_t kStateMask = 7, kHasWaiters = 8, kHasDependents = 16;
  static State state_of(std::uint32_t word) noexcept { return static_cast<State>(word & kStateMask); }
  static bool is_final(State state) noexcept { return state >= State::Done; }
  static std::uint32_t with_state(std::uint32_t word, State state) noexcept {
    return (word & ~kStateMask) | static_cast<std::uint32_t>(state);
  }
  bool announce(std::uint32_t flag) noexcept;
  bool change_state(std::uint32_t& seen, State to) noexcept;
  void last_reference_gone() noexcept;
  void fire_dependents(Completions& rest) noexcept;
  DependentLink* unlink_ended() noexcept;
  WaitOutcome await_end(Deadline deadline, const char* type, Interruptible interruptible) noexcept;

  std::atomic<std::uint64_t> references_{0};
  std::atomic<std::uint32_t> word_{0};
  const bool interruptible_;     // by cancel(), while its work runs
  bool wrapped_ = false;         // exception_ is a CompletionError
  bool had_dependents_ = false;  // under lock_
  mutable SpinLock lock_;        // guards the dependents
  std::atomic<std::uint64_t> runner_id_{0};
  ThreadRecord* runner_ = nullptr;  // good while Running and Interrupting: the runner waits for those to end
  std::exception_ptr exception_;
  WaitQueue queue_;
  DependentLink* dependents_ = nullptr;  // a ring
  std::uint32_t dependent_count_ = 0;
  std::uint32_t sweep_at_ = 16;       // a future that outlives many dependents lets go of those that ended
  FutureCore* next_ended_ = nullptr;  // in Completions
  std::atomic<Obtruded*> obtruded_{nullptr};
};

/// Futures that have just ended and have dependents. These go on one after the other, not one inside the
/// other: a long chain takes no stack.
class Completions {
 public:
  Completions() noexcept = default;
  ~Completions() { run(); }
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  void add(WorkRef<FutureCore> ended) noexcept;
  void run() noexcept;

 private:
  FutureCore* head_ = nullptr;
  FutureCore* tail_ = nullptr;
};

struct NoValue {};

template <typename T>
class FutureState : public FutureCore {
 public:
  using FutureCore::FutureCore;
  using Stored = std::conditional_t<std::is_void_v<T>, NoValue, T>;

  template <typename... Arguments>
  bool set(Arguments&&... arguments) {
    Completions rest;
    return set_and(rest, std::forward<Arguments>(arguments)...);
  }
  template <typename... Arguments>
  bool set_and(Completions& rest, Arguments&&... arguments) {
    if (!start_completing()) return false;
    return finish_with(rest, std::forward<Arguments>(arguments)...);
  }

  /// Takes the outcome of `source`, which is done, as its own; the value is not copied.
  void share(FutureState& source, Completions& rest) noexcept {
    if (relay_failure(source, rest) || !start_completing()) return;
    shared_ = &source.value();
    owner_ = source.owner_ ? source.owner_ : WorkRef<FutureCore>(&source);
    finish(State::Done, rest);
  }

  /// Runs `function` and has what it returns; what it throws is wrapped if `wrap` is set.
  template <bool wrap, typename Function>
  void set_result_of(Completions& rest, Function&& function) noexcept {
    try {
      if constexpr (std::is_void_v<T>) {
        std::invoke(function);
        drop_work();  // before the waiters go on: they may expect what it captured to be free
        set_and(rest);
      } else {
        T value = std::invoke(function);
        drop_work();
        set_and(rest, std::move(value));
      }
    } catch (...) {
      drop_work();
      if constexpr (wrap) {
        fail_with_current(rest);
      } else {
        fail(std::current_exception(), false, rest);
      }
    }
  }

  /// Sets or replaces the value.
  void obtrude_value(Stored value) {
    auto outcome = std::make_unique<ObtrudedValue>();
    outcome->value.emplace(std::move(value));
    obtrude(std::move(outcome));
  }

  /// Once it is done and did not fail.
  Stored& value() noexcept {
    for (const Obtruded* outcome = obtruded(); outcome != nullptr; outcome = outcome->before.get()) {
      if (outcome->exception == nullptr) return *const_cast<ObtrudedValue&>(as_value(*outcome)).value;
    }
    return shared_ != nullptr ? *shared_ : *value_;
  }
  /// The value for a handle that goes: moved if nobody else can reach it or it cannot be copied.
  Stored take_value() {
    if constexpr (std::is_copy_constructible_v<Stored>) {
      if (shared_ != nullptr || !is_sole_handle()) return std::as_const(value());
    }
    return std::move(value());
  }

 private:
  struct ObtrudedValue final : Obtruded {
    std::optional<Stored> value;
  };
  static const ObtrudedValue& as_value(const Obtruded& outcome) noexcept {
    return static_cast<const ObtrudedValue&>(outcome);
  }

  template <typename... Arguments>
  bool finish_with(Completions& rest, Arguments&&... arguments) {
    try {
      value_.emplace(std::forward<Arguments>(arguments)...);
    } catch (...) {
      finish_failed(std::current_exception(), false, rest);
      return true;
    }
    finish(State::Done, rest);
    return true;
  }

  std::optional<Stored> value_;
  Stored* shared_ = nullptr;  // another future's value, kept by owner_
  WorkRef<FutureCore> owner_;
};

/// A call whose result a Future gets.
template <typename T, typename Function>
class FutureTask final : public FutureState<T> {
 public:
  explicit FutureTask(Function function)
      : FutureState<T>(true), function_(std::in_place, std::move(function)) {}

  void run() noexcept {
    if (!this->start_running()) return;
    Completions rest;
    this->template set_result_of<false>(rest, *function_);
  }

 private:
  void drop_work() noexcept override { function_.reset(); }

  std::optional<Function> function_;
};

/// What an executor gets: runs the task, or cancels it if it is dropped without having run, so that nobody
/// waits for it for ever.
template <typename AnyFutureTask>
class FutureTaskRun {
 public:
  explicit FutureTaskRun(WorkRef<AnyFutureTask> task) noexcept : task_(std::move(task)) {}
  FutureTaskRun(FutureTaskRun&&) noexcept = default;
  FutureTaskRun& operator=(FutureTaskRun&&) = delete;
  ~FutureTaskRun() {
    if (task_) task_->cancel(false);
  }
  void operator()() noexcept {
    const WorkRef<AnyFutureTask> task = std::move(task_);
    task->run();
  }
  const FutureCore* future() const noexcept { return task_.get(); }

 private:
  WorkRef<AnyFutureTask> task_;
};

}  // namespace creel::detail
