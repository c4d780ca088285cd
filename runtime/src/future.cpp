#include "fork_join_state.hpp"
#include "spin_wait.hpp"
#include "thread_record.hpp"

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/task.hpp>

#include <sched.h>

#include <mutex>
#include <string>

namespace creel {

std::string_view to_string(FutureStatus status) noexcept {
  switch (status) {
    case FutureStatus::Running:
      return "RUNNING";
    case FutureStatus::Success:
      return "SUCCESS";
    case FutureStatus::Failed:
      return "FAILED";
    case FutureStatus::Cancelled:
      return "CANCELLED";
  }
  return "?";
}

bool Task::is_cancelled() const noexcept {
  const detail::FutureCore* const core = future();
  return core != nullptr && core->is_done();
}

namespace {

std::string message_of(const std::exception_ptr& cause) {
  try {
    if (cause != nullptr) std::rethrow_exception(cause);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
  }
  return "something that is no std::exception";
}

}  // namespace

CompletionError::CompletionError(std::exception_ptr cause, std::source_location where)
    : Error("a stage failed: " + message_of(cause), ErrorCode::Failed, where), cause_(std::move(cause)) {}

std::exception_ptr CompletionError::unwrap(const std::exception_ptr& exception) {
  try {
    if (exception != nullptr) std::rethrow_exception(exception);
  } catch (const CompletionError& error) {
    return error.cause() != nullptr ? error.cause() : exception;
  } catch (...) {
  }
  return exception;
}

namespace detail {

FutureCore::~FutureCore() {
  std::unique_ptr<Obtruded> outcome(obtruded_.load(std::memory_order_acquire));
  while (outcome != nullptr) outcome = std::move(outcome->before);
}

void FutureCore::source_ended(FutureCore&, DependentLink&, Completions&) noexcept {}

// Ending one that still has dependents, but that nobody can complete any more, ends these.
void FutureCore::last_reference_gone() noexcept {
  const std::uint32_t word = word_.load(std::memory_order_acquire);
  if ((word & kHasDependents) != 0 && !is_final(state_of(word))) {
    const WorkRef<FutureCore> self(this);  // its end comes here again
    fail(std::make_exception_ptr(Error("a CompletableFuture was given up before anybody completed it")));
    return;
  }
  delete this;
}

// Sets a flag that whoever ends it will see; false if it has ended.
bool FutureCore::announce(std::uint32_t flag) noexcept {
  std::uint32_t word = word_.load(std::memory_order_acquire);
  while (!is_final(state_of(word))) {
    if ((word & flag) != 0) return true;
    if (word_.compare_exchange_weak(word, word | flag, std::memory_order_acq_rel, std::memory_order_acquire))
      return true;
  }
  return false;
}

bool FutureCore::change_state(std::uint32_t& seen, State to) noexcept {
  return word_.compare_exchange_weak(seen, with_state(seen, to), std::memory_order_acq_rel,
                                     std::memory_order_acquire);
}

WaitOutcome FutureCore::await_end(Deadline deadline, const char* type, Interruptible interruptible) noexcept {
  if (is_done()) return WaitOutcome::Met;
  if (deadline.expired()) return WaitOutcome::TimedOut;
  if (!current_record().is_virtual && spin_until([this] { return is_done(); })) return WaitOutcome::Met;
  const ForkJoinCompensation compensation;  // the work may be waiting for this very worker
  const Blocker blocker{.object = this, .type = type, .owner = &runner_id_};
  return queue_.await(blocker, deadline, interruptible, WaitQueue::Order::Any,
                      [this] { return !announce(kHasWaiters); });
}

bool FutureCore::wait(Deadline deadline, const char* type) {
  if (is_done()) return true;  // also for a thread that was interrupted: it gets what is there
  if (is_done()) return true;  // also for a thread that was interrupted, which stays so
  const WaitOutcome outcome = current_record().take_interrupt()
                                  ? WaitOutcome::Interrupted
                                  : await_end(deadline, type, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted)
    throw InterruptedError(std::string("interrupted while waiting for a ") + type);
  return outcome == WaitOutcome::Met;
}

bool FutureCore::wait_uninterruptibly(Deadline deadline, const char* type) noexcept {
  return await_end(deadline, type, Interruptible::No) == WaitOutcome::Met;
}

std::exception_ptr FutureCore::failure() const noexcept {
  if (const Obtruded* outcome = obtruded()) return outcome->exception;
  if (exception_ != nullptr) return exception_;
  if (!is_cancelled()) return nullptr;
  return std::make_exception_ptr(CancelledError("the work was cancelled"));
}

bool FutureCore::start_running() noexcept {
  ThreadRecord& self = current_record();
  runner_ = &self;
  for (std::uint32_t seen = word_.load(std::memory_order_acquire); state_of(seen) == State::Pending;) {
    if (!change_state(seen, State::Running)) continue;
    runner_id_.store(self.id, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool FutureCore::stop_running() noexcept {
  runner_id_.store(0, std::memory_order_relaxed);
  for (std::uint32_t seen = word_.load(std::memory_order_acquire);;) {
    if (state_of(seen) == State::Interrupting) {
      Thread::yield();
      seen = word_.load(std::memory_order_acquire);
      continue;
    }
    if (state_of(seen) != State::Running) return false;
    if (change_state(seen, State::Pending)) return true;
  }
}

bool FutureCore::start_completing() noexcept {
  for (std::uint32_t seen = word_.load(std::memory_order_acquire);;) {
    const State before = state_of(seen);
    if (before == State::Interrupting) {  // the interrupt must not hit what this thread does next
      Thread::yield();
      seen = word_.load(std::memory_order_acquire);
      continue;
    }
    if (before != State::Pending && before != State::Running) return false;
    if (!change_state(seen, State::Completing)) continue;
    if (before == State::Pending) drop_work();
    return true;
  }
}

void FutureCore::finish(State state, Completions& rest) noexcept {
  runner_id_.store(0, std::memory_order_relaxed);
  // With nobody to tell, the change is the last touch: who sees it may let go of the future's last handle.
  std::uint32_t word = word_.load(std::memory_order_relaxed);
  while ((word & ~kStateMask) == 0) {
    if (word_.compare_exchange_weak(word, static_cast<std::uint32_t>(state), std::memory_order_acq_rel,
                                    std::memory_order_relaxed))
      return;
  }
  WorkRef<FutureCore> self(this);
  word = word_.exchange(static_cast<std::uint32_t>(state), std::memory_order_acq_rel);
  if ((word & kHasWaiters) != 0) queue_.change_and_wake_all([] {});
  if ((word & kHasDependents) != 0) rest.add(std::move(self));
}

void FutureCore::finish_failed(std::exception_ptr exception, bool wrapped, Completions& rest) noexcept {
  exception_ = std::move(exception);
  wrapped_ = wrapped;
  finish(State::Failed, rest);
}

bool FutureCore::fail(std::exception_ptr exception, bool wrapped, Completions& rest) noexcept {
  if (!start_completing()) return false;
  finish_failed(std::move(exception), wrapped, rest);
  return true;
}

bool FutureCore::fail(std::exception_ptr exception) noexcept {
  Completions rest;
  return fail(std::move(exception), false, rest);
}

bool FutureCore::relay_failure(const FutureCore& source, Completions& rest) noexcept {
  std::exception_ptr exception = source.failure();
  if (exception == nullptr) return false;
  if (!source.failure_is_wrapped() || source.obtruded() != nullptr)
    exception = std::make_exception_ptr(CompletionError(std::move(exception)));
  fail(std::move(exception), true, rest);
  return true;
}

void FutureCore::fail_with_current(Completions& rest) noexcept {
  try {
    throw;
  } catch (const CompletionError&) {
    fail(std::current_exception(), true, rest);
  } catch (...) {
    fail(std::make_exception_ptr(CompletionError(std::current_exception())), true, rest);
  }
}

bool FutureCore::cancel(bool interrupt) noexcept {
  Completions rest;
  for (std::uint32_t seen = word_.load(std::memory_order_acquire);;) {
    const State before = state_of(seen);
    if (before == State::Running && interrupt && interruptible_) {
      if (!change_state(seen, State::Interrupting)) continue;
      Thread(runner_->shared_from_this()).interrupt();
      finish(State::Cancelled, rest);
      return true;
    }
    if (before != State::Pending && before != State::Running) return false;
    if (!change_state(seen, State::Completing)) continue;
    if (before == State::Pending) drop_work();
    finish(State::Cancelled, rest);
    return true;
  }
}

void FutureCore::obtrude_failure(std::exception_ptr exception) {
  auto outcome = std::make_unique<Obtruded>();
  outcome->exception = std::move(exception);
  obtrude(std::move(outcome));
}

void FutureCore::obtrude(std::unique_ptr<Obtruded> outcome) noexcept {
  Obtruded* const added = outcome.release();
  const State state = added->exception == nullptr ? State::Done : State::Failed;
  Obtruded* before = obtruded_.load(std::memory_order_acquire);
  do {
    static_cast<void>(added->before.release());
    added->before.reset(before);
  } while (!obtruded_.compare_exchange_weak(before, added, std::memory_order_acq_rel));
  Completions rest;
  if (start_completing()) return finish(state, rest);
  for (std::uint32_t seen = word_.load(std::memory_order_acquire); !change_state(seen, state);) {
    if (!is_final(state_of(seen))) Thread::yield();
  }
}

void FutureCore::add_dependent(DependentLink& link, FutureCore& dependent, Completions& rest) {
  DependentLink* ended = nullptr;
  {
    const std::lock_guard guard{lock_};
    had_dependents_ = true;
    if (announce(kHasDependents)) {
      dependent.retain(kWorkUnit);
      link.dependent = &dependent;
      if (++dependent_count_ >= sweep_at_) ended = unlink_ended();
      if (dependents_ == nullptr) {
        dependents_ = link.previous = link.next = &link;
      } else {
        link.previous = dependents_->previous;
        link.next = dependents_;
        link.previous->next = link.next->previous = &link;
      }
      dependents_->previous = &link;
    }
  }
  while (ended != nullptr) {  // without the lock: what they captured goes
    FutureCore* const gone = ended->dependent;
    ended = ended->next;
    gone->release(kWorkUnit);
  }
  if (link.dependent == nullptr) dependent.source_ended(*this, link, rest);
}

void FutureCore::add_dependent(DependentLink& link, FutureCore& dependent) {
  Completions rest;
  add_dependent(link, dependent, rest);
}

// Takes those out of the list that ended by other means (the other one of two was first, a time-out), so that
// a future that is never completed does not collect them. Returns them as a chain.
DependentLink* FutureCore::unlink_ended() noexcept {
  DependentLink* ended = nullptr;
  std::uint32_t kept = 1;  // the one that is being added
  DependentLink* link = dependents_;
  for (std::uint32_t i = 1; i < dependent_count_; ++i) {
    DependentLink* const next = link->next;
    if (link->dependent->is_done()) {
      link->previous->next = link->next;
      link->next->previous = link->previous;
      if (dependents_ == link) dependents_ = next == link ? nullptr : next;
      link->next = ended;
      ended = link;
    } else {
      ++kept;
    }
    link = next;
  }
  dependent_count_ = kept;
  sweep_at_ = kept < 8 ? 16 : 2 * kept;
  return ended;
}

std::uint32_t FutureCore::dependents() const noexcept {
  const std::lock_guard guard{lock_};
  std::uint32_t count = 0;
  const DependentLink* link = dependents_;
  if (link == nullptr) return 0;
  do {
    if (!link->dependent->is_done()) ++count;
    link = link->next;
  } while (link != dependents_);
  return count;
}

void FutureCore::fire_dependents(Completions& rest) noexcept {
  DependentLink* link = nullptr;
  {
    const std::lock_guard guard{lock_};
    link = std::exchange(dependents_, nullptr);
    dependent_count_ = 0;
  }
  if (link != nullptr) link->previous->next = nullptr;
  while (link != nullptr) {
    FutureCore* const dependent = link->dependent;
    DependentLink* const next = link->next;
    dependent->source_ended(*this, *link, rest);
    dependent->release(kWorkUnit);
    link = next;
  }
}

void Completions::add(WorkRef<FutureCore> ended) noexcept {
  FutureCore* const core = ended.detach();
  (tail_ != nullptr ? tail_->next_ended_ : head_) = core;
  tail_ = core;
}

void Completions::run() noexcept {
  while (head_ != nullptr) {
    const WorkRef<FutureCore> ended(head_);
    head_->release(kWorkUnit);  // the count that it came with
    head_ = head_->next_ended_;
    if (head_ == nullptr) tail_ = nullptr;
    ended->fire_dependents(*this);
  }
}

FutureStatus status_of(const FutureCore& core) noexcept {
  switch (core.state()) {
    case FutureCore::State::Done:
      return FutureStatus::Success;
    case FutureCore::State::Failed:
      return FutureStatus::Failed;
    case FutureCore::State::Interrupting:
    case FutureCore::State::Cancelled:
      return FutureStatus::Cancelled;
    default:
      return FutureStatus::Running;
  }
}

void wait_for_value(FutureCore& core, Deadline deadline, const char* type) {
  if (!core.wait(deadline, type)) throw TimeoutError(std::string("a ") + type + " had no result in time");
  if (core.is_cancelled()) throw CancelledError(std::string("the work of this ") + type + " was cancelled");
  std::exception_ptr exception = core.failure();
  if (exception == nullptr) return;
  if (core.failure_is_wrapped()) exception = CompletionError::unwrap(exception);
  std::rethrow_exception(exception);
}

void check_value_now(const FutureCore& core) {
  const FutureStatus status = status_of(core);
  if (status != FutureStatus::Success)
    throw Error("result_now() of a future that is " + std::string(to_string(status)) + ", not SUCCESS");
}

std::exception_ptr failure_now(const FutureCore& core) {
  const FutureStatus status = status_of(core);
  if (status != FutureStatus::Failed)
    throw Error("exception_now() of a future that is " + std::string(to_string(status)) + ", not FAILED");
  const std::exception_ptr exception = core.failure();
  return core.failure_is_wrapped() ? CompletionError::unwrap(exception) : exception;
}

}  // namespace detail
}  // namespace creel
