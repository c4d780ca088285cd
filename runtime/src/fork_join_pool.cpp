#include "executor_gauges.hpp"
#include "fork_join_state.hpp"
#include "process_wide.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join_task.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace creel {
namespace {

std::size_t common_parallelism() noexcept {
  if (const char* text = std::getenv("CREEL_COMMON_PARALLELISM"); text != nullptr) {
    std::size_t count = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), count);
    if (error == std::errc{} && *end == '\0' && count >= 1 && count <= ForkJoinPool::kMostThreads)
      return count;
    log::warn("fork_join.bad_environment", {{"CREEL_COMMON_PARALLELISM", text}, {"allowed", "1 to 256"}});
  }
  return 0;
}

struct MakeCommonPool {
  ForkJoinPool* operator()() const {
    return new ForkJoinPool({.parallelism = common_parallelism(), .name = "common-pool"}, true);
  }
};

}  // namespace

ForkJoinPool::ForkJoinPool(Options options, bool is_common) : is_common_(is_common) {
  if (!options.name.empty()) gauges_ = std::make_unique<detail::ExecutorGauges>(options.name);
  state_ = std::make_shared<detail::ForkJoinState>(*this, std::move(options));
  if (gauges_ == nullptr) return;
  gauges_->add("queue",
               [this] { return static_cast<std::int64_t>(queued_submission_count() + queued_task_count()); });
  gauges_->add("active", [this] { return static_cast<std::int64_t>(running_thread_count()); });
}

ForkJoinPool::~ForkJoinPool() {
  state_->shutdown();
  state_->await_termination({}, detail::Interruptible::No);
}

ForkJoinPool& ForkJoinPool::common() { return detail::ProcessWide<ForkJoinPool, MakeCommonPool>::get(); }

ForkJoinWorkerThread* ForkJoinPool::own_worker() noexcept {
  ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  return worker != nullptr && &worker->pool() == this ? worker : nullptr;
}

void ForkJoinPool::Invocation::finish(bool cancelled) noexcept {
  queue_.change_and_wake_all(
      [&] { state_.store(cancelled ? kCancelled : kDone, std::memory_order_release); });
}

void ForkJoinPool::run_and_wait(Invocation& invocation) {
  if (!state_->inject(invocation, false)) {
    throw RejectedError("the fork-join pool \"" + name() + "\" is shut down");
  }
  const detail::ForkJoinCompensation compensation;  // the caller may be a worker of another pool
  const Blocker blocker{&invocation, "creel::ForkJoinTask", name().c_str(), nullptr};
  invocation.queue_.await(blocker, {}, detail::Interruptible::No, detail::WaitQueue::Order::Any,
                          [&] { return invocation.is_done(); });
  if (invocation.state_.load(std::memory_order_acquire) == Invocation::kCancelled) {
    throw CancelledError("the fork-join pool \"" + name() + "\" was shut down before the call began");
  }
}

void ForkJoinPool::execute(Task task) {
  if (!state_->execute(std::move(task), own_worker())) {
    throw RejectedError("the fork-join pool \"" + name() + "\" takes no task: it is shut down");
  }
}

void ForkJoinPool::execute(detail::ForkJoinTaskCore& task) {
  if (own_worker() != nullptr) return task.fork_here();
  task.pool_ = state_.get();
  if (state_->inject(task, false)) return;
  task.pool_ = nullptr;
  throw RejectedError("the fork-join pool \"" + name() + "\" takes no task: it is shut down");
}

void ForkJoinPool::shutdown() {
  if (!is_common_) state_->shutdown();
}

std::vector<Task> ForkJoinPool::shutdown_now() {
  if (is_common_) return {};
  return state_->shutdown_now();
}

bool ForkJoinPool::is_shutdown() const noexcept { return state_->is_shutdown(); }
bool ForkJoinPool::is_terminated() const noexcept { return state_->is_terminated(); }

bool ForkJoinPool::await_termination(Deadline deadline) {
  const auto outcome = state_->await_termination(deadline, detail::Interruptible::Yes);
  if (outcome == detail::WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for the end of fork-join pool \"" + name() + "\"");
  }
  return outcome == detail::WaitOutcome::Met;
}

bool ForkJoinPool::is_quiescent() const noexcept { return state_->is_quiescent(); }

bool ForkJoinPool::await_quiescence(Deadline deadline) {
  if (own_worker() != nullptr) {
    throw Error("a worker of fork-join pool \"" + name() + "\" would wait for its own task to end");
  }
  const auto outcome = state_->await_quiescence(deadline);
  if (outcome == detail::WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for fork-join pool \"" + name() + "\" to become quiet");
  }
  return outcome == detail::WaitOutcome::Met;
}

void ForkJoinPool::managed_block(ManagedBlocker& blocker) {
  if (blocker.is_releasable()) return;
  const detail::ForkJoinCompensation compensation;
  while (!blocker.block() && !blocker.is_releasable()) {
  }
}

std::size_t ForkJoinPool::parallelism() const noexcept { return state_->options().parallelism; }
bool ForkJoinPool::is_async() const noexcept { return state_->options().async; }
const std::string& ForkJoinPool::name() const noexcept { return state_->options().name; }
std::size_t ForkJoinPool::pool_size() const noexcept { return state_->pool_size(); }
std::size_t ForkJoinPool::running_thread_count() const noexcept { return state_->running(); }
std::uint64_t ForkJoinPool::steal_count() const noexcept { return state_->steals(); }
std::size_t ForkJoinPool::queued_task_count() const noexcept { return state_->queued(); }
std::size_t ForkJoinPool::queued_submission_count() const noexcept { return state_->injected(); }

}  // namespace creel
