#include "thread_record.hpp"

#include <creel/runtime/future.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel::detail {

bool FutureCore::wait(Deadline deadline) {
  WaitOutcome outcome = WaitOutcome::Interrupted;
  if (!current_record().take_interrupt()) {
    if (is_done()) return true;
    const Blocker blocker{this, "creel::Future", nullptr, &runner_id_};
    outcome = queue_.await(blocker, deadline, Interruptible::Yes, WaitQueue::Order::Any,
                           [this] { return is_done(); });
  }
  if (outcome == WaitOutcome::Interrupted)
    throw InterruptedError("interrupted while waiting for a creel::Future");
  return outcome == WaitOutcome::Met;
}

void FutureCore::wait_for_value(Deadline deadline) {
  if (!wait(deadline)) throw TimeoutError("a creel::Future had no result in time");
  if (load() == State::Cancelled) throw CancelledError("the work of this creel::Future was cancelled");
  if (exception_ != nullptr) std::rethrow_exception(exception_);
}

bool FutureCore::start_running() noexcept {
  runner_ = &current_record();
  runner_id_.store(runner_->id, std::memory_order_relaxed);
  State expected = State::Pending;
  return state_.compare_exchange_strong(expected, State::Running, std::memory_order_acq_rel);
}

bool FutureCore::start_completing() noexcept {
  for (State seen = load();;) {
    if (seen == State::Interrupting) {  // the interrupt must not hit what this thread does next
      Thread::yield();
      seen = load();
      continue;
    }
    if (seen != State::Pending && seen != State::Running) return false;
    if (state_.compare_exchange_weak(seen, State::Completing, std::memory_order_acq_rel)) return true;
  }
}

void FutureCore::complete(std::exception_ptr failure) noexcept {
  exception_ = std::move(failure);
  finish(exception_ == nullptr ? State::Done : State::Failed);
}

bool FutureCore::fail(std::exception_ptr exception) noexcept {
  if (!start_completing()) return false;
  complete(std::move(exception));
  return true;
}

bool FutureCore::cancel(bool interrupt) {
  for (State seen = load();;) {
    if (seen == State::Running && interrupt) {
      if (!state_.compare_exchange_weak(seen, State::Interrupting, std::memory_order_acq_rel)) continue;
      Thread(runner_->shared_from_this()).interrupt();
      finish(State::Cancelled);
      return true;
    }
    if (seen != State::Pending && seen != State::Running) return false;
    if (state_.compare_exchange_weak(seen, State::Completing, std::memory_order_acq_rel)) {
      finish(State::Cancelled);
      return true;
    }
  }
}

void FutureCore::finish(State state) noexcept {
  queue_.change_and_wake_all([&] {
    state_.store(state, std::memory_order_release);
    runner_id_.store(0, std::memory_order_relaxed);
  });
}

}  // namespace creel::detail
