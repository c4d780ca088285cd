#include "thread_record.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel {

using detail::WaitOutcome;

CountDownLatch::CountDownLatch(std::uint64_t count, std::string name)
    : count_(count), name_(std::move(name)) {
  if (const auto as_given = static_cast<std::int64_t>(count); as_given < 0) {
    throw Error("a creel::CountDownLatch of count " + std::to_string(as_given) + "; use 0 or more");
  }
}

bool CountDownLatch::await(Deadline deadline) {
  WaitOutcome outcome = WaitOutcome::Interrupted;
  if (!detail::current_record().take_interrupt()) {
    if (count() == 0) return true;
    const Blocker blocker{this, "creel::CountDownLatch", name_.empty() ? nullptr : name_.c_str()};
    outcome = queue_.await(blocker, deadline, detail::Interruptible::Yes, detail::WaitQueue::Order::Any,
                           [this] { return count() == 0; });
  }
  if (outcome == WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for a creel::CountDownLatch" +
                           (name_.empty() ? std::string() : " \"" + name_ + "\""));
  }
  return outcome == WaitOutcome::Met;
}

void CountDownLatch::count_down() noexcept {
  std::uint64_t seen = count_.load(std::memory_order_relaxed);
  while (seen > 1) {
    // acq_rel: the last one carries the effects of all.
    if (count_.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_relaxed))
      return;
  }
  if (seen == 0) return;
  queue_.change_and_wake_all([this] {
    std::uint64_t one = 1;  // or another thread was faster
    count_.compare_exchange_strong(one, 0, std::memory_order_acq_rel, std::memory_order_relaxed);
  });
}

std::string CountDownLatch::to_string() const {
  return "creel::CountDownLatch" + (name_.empty() ? std::string() : " \"" + name_ + "\"") + " [" +
         std::to_string(count()) + " to go]";
}

}  // namespace creel
