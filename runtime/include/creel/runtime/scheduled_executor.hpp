#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <atomic>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace creel {

namespace detail {

class ScheduledQueue;

/// What the queue of a scheduled executor orders: work with a time.
class ScheduledItem {
 public:
  using Time = Deadline::Clock::time_point;
  enum class Repeat : std::uint8_t { No, AtFixedRate, WithFixedDelay };

  ScheduledItem(Deadline first, Repeat repeat, std::chrono::nanoseconds period) noexcept
      : repeat_(repeat), period_(period), due_(first.time_point()) {}
  virtual ~ScheduledItem() = default;
  ScheduledItem(const ScheduledItem&) = delete;
  ScheduledItem& operator=(const ScheduledItem&) = delete;

  Time due() const noexcept { return due_.load(std::memory_order_relaxed); }
  bool repeats() const noexcept { return repeat_ != Repeat::No; }
  virtual FutureCore& core() noexcept = 0;

 protected:
  virtual void run_once() noexcept = 0;
  /// Whether there is a next time.
  virtual bool run_and_stay() noexcept = 0;
  /// It ended before its time: the queue may forget it.
  void leave_queue() noexcept;

 private:
  friend class ScheduledQueue;
  void run() noexcept;

  const Repeat repeat_;
  const std::chrono::nanoseconds period_;
  std::atomic<Time> due_;
  std::uint64_t sequence_ = 0;  // what is due at one time runs in the order in which it came
  std::size_t place_ = kNowhere;
  std::weak_ptr<ScheduledQueue> queue_;
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
};

template <typename T, typename Function>
class ScheduledTask final : public FutureState<T>, public ScheduledItem {
 public:
  ScheduledTask(Function function, Deadline first, Repeat repeat, std::chrono::nanoseconds period)
      : FutureState<T>(true),
        ScheduledItem(first, repeat, period),
        function_(std::in_place, std::move(function)) {}
  FutureCore& core() noexcept override { return *this; }

 private:
  void run_once() noexcept override {
    if (!this->start_running()) return;
    Completions rest;
    this->template set_result_of<false>(rest, *function_);
  }
  bool run_and_stay() noexcept override {
    if (!this->start_running()) return false;
    try {
      std::invoke(*function_);
    } catch (...) {
      function_.reset();
      this->fail(std::current_exception());
      return false;
    }
    if (this->stop_running()) return true;
    function_.reset();  // cancelled meanwhile
    return false;
  }
  void drop_work() noexcept override {
    function_.reset();
    leave_queue();
  }

  std::optional<Function> function_;
};

}  // namespace detail

/// The Future of work that has a time; java.util.concurrent.ScheduledFuture. Of periodic work it never has a
/// value: it ends by cancel(), by what the work throws, or with its executor.
template <typename T>
class ScheduledFuture : public Future<T> {
 public:
  ScheduledFuture() noexcept = default;
  ScheduledFuture(Future<T> future, const detail::ScheduledItem& item) noexcept
      : Future<T>(std::move(future)), item_(&item) {}

  /// Time until the work is (next) due; negative if it is late.
  std::chrono::nanoseconds get_delay() const noexcept { return item_->due() - Deadline::Clock::now(); }
  bool is_periodic() const noexcept { return item_->repeats(); }
  /// By the time at which they are due.
  template <typename U>
  std::weak_ordering operator<=>(const ScheduledFuture<U>& other) const noexcept {
    return item_->due() <=> other.item_->due();
  }

 private:
  template <typename>
  friend class ScheduledFuture;
  const detail::ScheduledItem* item_ = nullptr;  // lives in the shared state
};

/// An ExecutorService for work with a time; java.util.concurrent.ScheduledExecutorService.
class ScheduledExecutorService : public ExecutorService {
 public:
  /// Runs `function()` at `when`, a duration from now or a point in time; at once if that has passed. Throws
  /// RejectedError after shutdown.
  template <typename Function>
  auto schedule(Function&& function, Deadline when)
      -> ScheduledFuture<std::invoke_result_t<std::decay_t<Function>&>> {
    using Result = std::invoke_result_t<std::decay_t<Function>&>;
    return add<Result>(std::forward<Function>(function), when, detail::ScheduledItem::Repeat::No, {});
  }
  /// Runs `function()` first at `first`, then every `period` from there: a run that takes longer makes the
  /// next ones late, but they never overlap. What it throws ends the series and is the future's failure.
  /// Throws Error if `period` is not positive.
  template <typename Function>
  ScheduledFuture<void> schedule_at_fixed_rate(Function&& function, Deadline first,
                                               std::chrono::nanoseconds period) {
    return add<void>(std::forward<Function>(function), first, detail::ScheduledItem::Repeat::AtFixedRate,
                     period);
  }
  /// The same, but the time between is `delay` from the end of a run to the beginning of the next.
  template <typename Function>
  ScheduledFuture<void> schedule_with_fixed_delay(Function&& function, Deadline first,
                                                  std::chrono::nanoseconds delay) {
    return add<void>(std::forward<Function>(function), first, detail::ScheduledItem::Repeat::WithFixedDelay,
                     delay);
  }

 protected:
  virtual void add_item(detail::WorkRef<detail::FutureCore> keep, detail::ScheduledItem& item) = 0;

 private:
  static void check_period(std::chrono::nanoseconds period);

  template <typename Result, typename Function>
  ScheduledFuture<Result> add(Function&& function, Deadline first, detail::ScheduledItem::Repeat repeat,
                              std::chrono::nanoseconds period) {
    if (repeat != detail::ScheduledItem::Repeat::No) check_period(period);
    using State = detail::ScheduledTask<Result, std::decay_t<Function>>;
    const detail::HandleRef<State> state(new State(std::forward<Function>(function), first, repeat, period));
    add_item(detail::WorkRef<detail::FutureCore>(state.get()), *state);
    return {Future<Result>(detail::HandleRef<detail::FutureState<Result>>(state)), *state};
  }
};

/// A pool of `core_size` threads over a queue ordered by time;
/// java.util.concurrent.ScheduledThreadPoolExecutor.
///
///     creel::ScheduledThreadPoolExecutor timer{{.core_size = 1, .name = "ticker"}};
///     auto ticks = timer.schedule_at_fixed_rate([&] { ++count; }, 0s, 10ms);
///     …
///     ticks.cancel();
///
/// Work of one time runs in the order in which it came. execute() and submit() are schedule() at once, so
/// that what a task throws is in its future, not with the thread's handler. After shutdown() delayed work
/// still runs and periodic work does not, unless the policies below say otherwise. Dumps show a thread that
/// waits for the next time as TIMED_WAITING on the pool. Memory effects: what a thread did before schedule()
/// happens before the work; each run of periodic work happens before the next.
class ScheduledThreadPoolExecutor final : public ScheduledExecutorService {
 public:
  struct Options {
    std::size_t core_size = 1;  ///< 0: a thread comes with work and goes after a minute without
    ThreadFactory factory{};    ///< null: platform threads named after the pool
    std::string name{};         ///< empty: "pool-N"
    /// What happens to work that comes after shutdown: only Abort throws, every other drops it.
    ThreadPoolExecutor::Rejection rejection = ThreadPoolExecutor::Rejection::Abort;
    ThreadPoolExecutor::RejectionHandler on_rejected{};  ///< not null: in place of `rejection`
  };
  explicit ScheduledThreadPoolExecutor(Options options);
  /// Shuts down as shutdown() does, and waits for what still runs after it: delayed work may let it wait
  /// long. Not on a thread of the pool itself.
  ~ScheduledThreadPoolExecutor() override;

  void execute(Task task) override;
  void shutdown() override;
  std::vector<Task> shutdown_now() override;
  bool is_shutdown() const noexcept override;
  bool is_terminated() const noexcept override;
  bool await_termination(Deadline deadline = {}) override;

  /// After shutdown() periodic work goes on until it is cancelled; off by default.
  void set_continue_existing_periodic_tasks_after_shutdown_policy(bool on);
  bool continues_existing_periodic_tasks_after_shutdown() const noexcept;
  /// After shutdown() delayed work still runs; on by default.
  void set_execute_existing_delayed_tasks_after_shutdown_policy(bool on);
  bool executes_existing_delayed_tasks_after_shutdown() const noexcept;
  /// Cancelled work leaves the queue at once, not when its time comes; off by default.
  void set_remove_on_cancel_policy(bool on) noexcept;
  bool removes_on_cancel() const noexcept;

  /// The pool under it: sizes, counts, its queue, remove(), what it does with rejected work. Its queue is
  /// without a bound, so that only its core size matters.
  ThreadPoolExecutor& pool() noexcept { return pool_; }

 protected:
  void add_item(detail::WorkRef<detail::FutureCore> keep, detail::ScheduledItem& item) override;

 private:
  std::shared_ptr<detail::ScheduledQueue> queue_;
  ThreadPoolExecutor pool_;
};

}  // namespace creel
