#include <creel/runtime/error.hpp>
#include <creel/runtime/exchanger.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>

namespace creel::detail {

WaitOutcome ExchangeOffer::await(const void* exchanger, const char* name, Deadline deadline,
                                 Interruptible interruptible) {
  const Blocker blocker{exchanger, "creel::Exchanger", name};
  return queue_.await(blocker, deadline, interruptible, WaitQueue::Order::Any, [this] {
    return answered_.load(std::memory_order_acquire);  // the other's item
  });
}

void ExchangeOffer::answer() noexcept {
  queue_.change_and_wake_all([this] { answered_.store(true, std::memory_order_release); });
}

void throw_not_exchanged(WaitOutcome outcome, const std::string& name) {
  const std::string where = " at a creel::Exchanger" + (name.empty() ? std::string() : " \"" + name + "\"");
  if (outcome == WaitOutcome::TimedOut) throw TimeoutError("nobody came in time" + where);
  throw InterruptedError("interrupted while waiting" + where);
}

bool take_interrupt_of_current_thread() noexcept { return Thread::interrupted(); }

void interrupt_current_thread() noexcept { Thread::current().interrupt(); }

}  // namespace creel::detail
