#include "delayer.hpp"

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/scheduled_executor.hpp>

namespace creel {
namespace detail {
namespace {

/// Takes a time-out back when the future that it is for has ended.
class TimeoutEnd final : public FutureCore {
 public:
  explicit TimeoutEnd(ScheduledFuture<void> timeout) : timeout_(std::move(timeout)) {}
  void attach(FutureCore& future) { future.add_dependent(link_, *this); }
  void source_ended(FutureCore&, DependentLink&, Completions&) noexcept override {
    timeout_.cancel(false);
    timeout_ = {};
  }

 private:
  DependentLink link_;
  ScheduledFuture<void> timeout_;
};

class DelayedExecutor final : public Executor {
 public:
  DelayedExecutor(std::chrono::nanoseconds delay, ExecutorRef executor)
      : delay_(delay), executor_(std::move(executor)) {}
  void execute(Task task) override {
    delayer().schedule(
        [executor = executor_, task = std::move(task)]() mutable { executor.execute(std::move(task)); },
        delay_);
  }

 private:
  const std::chrono::nanoseconds delay_;
  const ExecutorRef executor_;
};

}  // namespace

void at_deadline(FutureCore& future, Deadline deadline, Task action) {
  if (future.is_done() || deadline.is_never()) return;
  const WorkRef<TimeoutEnd> end(new TimeoutEnd(delayer().schedule(std::move(action), deadline)));
  end->attach(future);
}

std::exception_ptr timeout_failure() {
  return std::make_exception_ptr(TimeoutError("a creel::CompletableFuture was not completed in time"));
}

bool complete_exceptionally(FutureCore& future, const std::exception_ptr& exception) noexcept {
  if (future.is_done()) return false;
  try {
    std::rethrow_exception(exception);
  } catch (const CancelledError&) {
    return future.cancel(false);
  } catch (const CompletionError&) {
    Completions rest;
    return future.fail(exception, true, rest);
  } catch (...) {
    return future.fail(exception);
  }
}

}  // namespace detail

std::shared_ptr<Executor> delayed_executor(std::chrono::nanoseconds delay, ExecutorRef executor) {
  return std::make_shared<detail::DelayedExecutor>(delay, std::move(executor));
}

}  // namespace creel
