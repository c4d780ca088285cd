#include "fork_join_state.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join_task.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel::detail {

ForkJoinTaskCore::~ForkJoinTaskCore() {
  CREEL_ASSERT(pool_ == nullptr || is_final(load()), "a ForkJoinTask was destroyed before it was joined");
}

// The phase moves under CAS, since a joiner may set its bit at any time.
bool ForkJoinTaskCore::begin() noexcept {
  for (std::uint32_t state = load(); (state & kPhase) == kPending;) {
    if (state_.compare_exchange_weak(state, (state & ~kPhase) | kRunning, std::memory_order_acq_rel))
      return true;
  }
  return false;
}

void ForkJoinTaskCore::run(ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept {
  auto& self = static_cast<ForkJoinTaskCore&>(node);
  if (worker == nullptr || !self.begin()) return self.finish(kCancelled);
  try {
    self.execute();
  } catch (...) {
    self.failure_ = std::current_exception();
    return self.finish(kFailed);
  }
  self.finish(kDone);
}

void ForkJoinTaskCore::finish(std::uint32_t state) noexcept {
  ForkJoinState* pool = pool_;  // the task may be gone once it is done
  std::uint32_t before = 0;
  waiters_.change_and_wake_all([&] { before = state_.exchange(state, std::memory_order_acq_rel); });
  if ((before & kJoinerSleeps) != 0) pool->wake_joiner(this);
}

void ForkJoinTaskCore::fork_here() {
  ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  ForkJoinPool& pool = worker != nullptr ? worker->pool() : ForkJoinPool::common();
  pool_ = pool.state_.get();
  if (worker != nullptr && worker->push(*this) != ForkJoinWorkerThread::kCapacity) return;
  pool_->inject(*this, true);
}

bool ForkJoinTaskCore::try_unfork() noexcept {
  ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  return worker != nullptr && worker->pop_top(*this);
}

void ForkJoinTaskCore::quietly_join() noexcept {
  if (is_done()) return;
  ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  if (worker != nullptr && pool_ == worker->pool().state_.get()) {
    if (worker->take_back(*this) || pool_->withdraw(*this)) return run(*this, worker);
    return worker->await(*this);
  }
  const ForkJoinCompensation compensation;
  const Blocker blocker{this, "creel::ForkJoinTask", nullptr, nullptr};
  waiters_.await(blocker, {}, Interruptible::No, WaitQueue::Order::Any, [this] { return is_done(); });
}

void ForkJoinTaskCore::quietly_invoke() {
  if (ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current()) return run(*this, worker);
  ForkJoinPool::common().invoke([this](ForkJoinWorkerThread& worker) { run(*this, &worker); });
}

void ForkJoinTaskCore::wait_done(Deadline deadline) {
  if (is_done()) return;
  if (deadline.is_never() && ForkJoinWorkerThread::current() != nullptr) return quietly_join();
  const ForkJoinCompensation compensation;
  const Blocker blocker{this, "creel::ForkJoinTask", nullptr, nullptr};
  const WaitOutcome outcome = waiters_.await(blocker, deadline, Interruptible::Yes, WaitQueue::Order::Any,
                                             [this] { return is_done(); });
  if (outcome == WaitOutcome::TimedOut) throw TimeoutError("a creel::ForkJoinTask was not done in time");
  if (outcome == WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for a creel::ForkJoinTask");
  }
}

void ForkJoinTaskCore::rethrow() const {
  const std::uint32_t state = phase();
  if (state == kCancelled) throw CancelledError("this creel::ForkJoinTask was cancelled");
  if (state == kFailed) std::rethrow_exception(failure_);
}

std::exception_ptr ForkJoinTaskCore::exception() const noexcept {
  try {
    rethrow();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

bool ForkJoinTaskCore::cancel() noexcept {
  if (pool_ == nullptr) {  // in no deque: nobody else will end it
    bool cancelled = false;
    waiters_.change_and_wake_all([&] {
      std::uint32_t pending = kPending;
      cancelled = state_.compare_exchange_strong(pending, kCancelled, std::memory_order_acq_rel) ||
                  (pending & kPhase) == kCancelled;
    });
    return cancelled;
  }
  for (std::uint32_t state = load(); (state & kPhase) == kPending;) {
    if (state_.compare_exchange_weak(state, (state & ~kPhase) | kDropping, std::memory_order_acq_rel))
      return true;
  }
  return is_cancelled();
}

void ForkJoinTaskCore::reinitialize() noexcept {
  failure_ = nullptr;
  pool_ = nullptr;
  state_.store(kPending, std::memory_order_release);
}

}  // namespace creel::detail
