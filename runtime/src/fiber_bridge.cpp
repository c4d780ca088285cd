#include "thread_record.hpp"

#include <creel/runtime/fiber_bridge.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread_container.hpp>

#include <atomic>
#include <mutex>
#include <string>

namespace creel::fibers {

using creel::detail::caller_stack_pointer;
using creel::detail::FutureCore;
using creel::detail::Interruptible;
using creel::detail::WaitOutcome;

namespace {

class FutureCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "fiber-future"; }
  std::string message(int value) const override {
    switch (static_cast<future_errc>(value)) {
      case future_errc::broken_promise:
        return "The associated promise has been destructed prior to the associated state becoming ready.";
      case future_errc::future_already_retrieved:
        return "The future has already been retrieved from the promise or packaged_task.";
      case future_errc::promise_already_satisfied:
        return "The state of the promise has already been set.";
      case future_errc::no_state:
        return "Operation not permitted on an object without an associated state.";
    }
    return "unspecified future error";
  }
};

const std::shared_ptr<ThreadContainer>& container() {
  // Never freed: fibers may be started and may end after the last static destructor.
  static const auto* all = new auto(ThreadContainer::create("fibers", "creel::fibers::fiber"));
  return *all;
}

constexpr const char* kFutureType = "creel::fibers::future";

}  // namespace

const std::error_category& future_category() noexcept {
  static const FutureCategory category;
  return category;
}

namespace detail {

void MutexBase::check_relock(const char* what) const {
  if (kind_ == Kind::Plain && core_.is_held_by_current_thread()) {
    throw lock_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                     std::string("creel fibers: ") + what + " of a mutex that the calling thread holds");
  }
}

void MutexBase::lock() {
  check_relock("lock");
  core_.lock(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}

bool MutexBase::try_lock() {
  check_relock("try_lock");
  return core_.try_lock(caller_stack_pointer());
}

bool MutexBase::try_lock_before(Deadline deadline) {
  check_relock("try_lock");
  switch (core_.lock(caller_stack_pointer(), deadline, Interruptible::Yes)) {
    case WaitOutcome::Met:
      return true;
    case WaitOutcome::TimedOut:
      return false;
    case WaitOutcome::Interrupted:
      break;
  }
  throw InterruptedError(std::string("interrupted while waiting for a ") + core_.type());
}

void MutexBase::unlock() {
  if (!core_.is_held_by_current_thread()) {
    throw lock_error(std::make_error_code(std::errc::operation_not_permitted),
                     "creel fibers: unlock of a mutex that the calling thread does not hold");
  }
  core_.unlock();
}

Thread start(std::function<void()> body, launch policy, std::size_t stack_bytes) {
  static std::atomic<std::uint64_t> started{0};
  Thread thread = Thread::of_virtual()
                      .name("fiber-", started.fetch_add(1, std::memory_order_relaxed))
                      .stack_size(stack_bytes)
                      .container(container())
                      .start(std::move(body));
  if (policy == launch::dispatch && creel::detail::current_record().is_virtual) Thread::yield();
  return thread;
}

void wait_for_value(FutureCore* state) {
  if (state == nullptr) throw future_uninitialized();
  state->wait(Deadline::never(), kFutureType);
  if (const std::exception_ptr failure = state->failure()) std::rethrow_exception(failure);
}

future_status wait_for_end(FutureCore* state, Deadline deadline) {
  if (state == nullptr) throw future_uninitialized();
  return state->wait(deadline, kFutureType) ? future_status::ready : future_status::timeout;
}

void declare_producer(FutureCore& state) { state.set_producer(creel::detail::current_record().id); }

}  // namespace detail

condition_variable_any::Inner::Inner(condition_variable_any& condition) : condition_(condition) {
  condition.core_.lock(caller_stack_pointer(), Deadline::never(), Interruptible::No);
}
condition_variable_any::Inner::~Inner() { condition_.core_.unlock(); }

WaitOutcome condition_variable_any::wait_inside(Deadline deadline) {
  const Blocker blocker{this, type_, nullptr, nullptr, WaitKind::Parking};
  return core_.wait(waiters_, blocker, deadline, Interruptible::Yes);
}

void condition_variable_any::throw_interrupted() const {
  throw InterruptedError(std::string("interrupted while waiting on a ") + type_);
}

void condition_variable_any::notify_one() noexcept {
  const Inner inner{*this};
  core_.notify_one(waiters_);
}

void condition_variable_any::notify_all() noexcept {
  const Inner inner{*this};
  core_.notify_all(waiters_);
}

barrier::barrier(std::size_t initial) : initial_(initial), missing_(initial) {
  if (initial == 0) {
    throw fiber_error(std::make_error_code(std::errc::invalid_argument),
                      "creel fibers: a barrier needs a count of at least 1");
  }
}

bool barrier::wait() {
  std::unique_lock lock{mutex_};
  const std::size_t cycle = cycle_;
  if (--missing_ == 0) {
    ++cycle_;
    missing_ = initial_;
    all_here_.notify_all();  // with the mutex held: whoever goes on may destroy the barrier
    return true;
  }
  try {
    all_here_.wait(lock, [&] { return cycle != cycle_; });
  } catch (const InterruptedError&) {
    if (cycle == cycle_) ++missing_;
    throw;
  }
  return false;
}

void fiber::join() {
  if (!joinable()) {
    throw fiber_error(std::make_error_code(std::errc::invalid_argument),
                      "creel fibers: join of a fiber that is not joinable");
  }
  if (thread_ == Thread::current()) {
    throw fiber_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                      "creel fibers: a fiber that joins itself would wait for ever");
  }
  thread_.join();
  thread_ = Thread();
}

void fiber::detach() {
  if (!joinable()) {
    throw fiber_error(std::make_error_code(std::errc::invalid_argument),
                      "creel fibers: detach of a fiber that is not joinable");
  }
  thread_ = Thread();
}

}  // namespace creel::fibers
