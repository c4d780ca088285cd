#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/semaphore.hpp>

#include <algorithm>

namespace creel {

using detail::Interruptible;
using detail::WaitOutcome;

Semaphore::Semaphore(std::int64_t permits, std::string name, Fairness fairness)
    : word_(2 * std::clamp(permits, -kMostPermits, kMostPermits)),
      fair_(fairness == Fairness::Fair),
      name_(std::move(name)) {
  if (permits > kMostPermits || permits < -kMostPermits) throw_too_many(permits);
}

void Semaphore::throw_too_many(std::int64_t more) const {
  throw Error(to_string() + ": " + std::to_string(more) + " more; from " + std::to_string(-kMostPermits) +
              " to " + std::to_string(kMostPermits) + " are possible");
}

void Semaphore::check(std::int64_t permits) const {
  if (permits < 0) [[unlikely]] {
    throw Error("creel::Semaphore" + (name_.empty() ? std::string() : " \"" + name_ + "\"") + ": " +
                std::to_string(permits) + " permits; a number of permits is not negative");
  }
}

bool Semaphore::try_acquire(std::int64_t permits) {
  check(permits);
  std::int64_t seen = word_.load(std::memory_order_relaxed);
  while ((seen >> 1) >= permits) {
    // acquire: what happened before the release() of these permits happens before.
    if (word_.compare_exchange_weak(seen, seen - 2 * permits, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

WaitOutcome Semaphore::wait(std::int64_t permits, Deadline deadline, Interruptible interruptible) {
  check(permits);
  if (interruptible == Interruptible::Yes && detail::current_record().take_interrupt()) {
    return WaitOutcome::Interrupted;
  }
  if ((!fair_ || queue_.empty()) && try_acquire(permits)) return WaitOutcome::Met;
  const Blocker blocker{this, "creel::Semaphore", name_.empty() ? nullptr : name_.c_str()};
  const WaitOutcome outcome =
      queue_.await(blocker, deadline, interruptible, detail::WaitQueue::Order::Head, [&] {
        for (std::int64_t seen = word_.load(std::memory_order_relaxed);;) {
          const bool enough = (seen >> 1) >= permits;
          const std::int64_t next =
              (enough ? seen - 2 * permits : seen) | kWaiters;  // others may stand behind
          if (!enough && next == seen) return false;
          if (word_.compare_exchange_weak(seen, next, std::memory_order_acquire, std::memory_order_relaxed))
            return enough;
        }
      });
  // A release may have been enough for the next one too.
  if (outcome == WaitOutcome::Met && available_permits() > 0) queue_.wake_one();
  return outcome;
}

void Semaphore::acquire(std::int64_t permits) { try_acquire(permits, Deadline::never()); }

void Semaphore::acquire_uninterruptibly(std::int64_t permits) {
  wait(permits, Deadline::never(), Interruptible::No);
}

bool Semaphore::try_acquire(std::int64_t permits, Deadline deadline) {
  const WaitOutcome outcome = wait(permits, deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for a creel::Semaphore" +
                           (name_.empty() ? std::string() : " \"" + name_ + "\""));
  }
  return outcome == WaitOutcome::Met;
}

void Semaphore::release(std::int64_t permits) {
  check(permits);
  const auto has_room = [&](std::int64_t seen) {
    return permits <= kMostPermits - std::max<std::int64_t>(seen >> 1, 0);
  };
  std::int64_t seen = word_.load(std::memory_order_relaxed);
  while ((seen & kWaiters) == 0) {
    if (!has_room(seen)) throw_too_many(permits);
    if (word_.compare_exchange_weak(seen, seen + 2 * permits, std::memory_order_release,
                                    std::memory_order_relaxed)) {
      return;
    }
  }
  bool added = true;
  queue_.change_and_wake_one([&](bool no_waiters) {
    // Nobody can enter the queue meanwhile, so that the flag is exact.
    while ((added = has_room(seen)) &&
           !word_.compare_exchange_weak(seen,
                                        ((seen + 2 * permits) & ~kWaiters) | (no_waiters ? 0 : kWaiters),
                                        std::memory_order_release, std::memory_order_relaxed)) {
    }
  });
  if (!added) throw_too_many(permits);
}

std::int64_t Semaphore::drain_permits() noexcept {
  std::int64_t seen = word_.load(std::memory_order_relaxed);
  while (!word_.compare_exchange_weak(seen, seen & kWaiters, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
  }
  return seen >> 1;
}

void Semaphore::reduce_permits(std::int64_t permits) {
  check(permits);
  std::int64_t seen = word_.load(std::memory_order_relaxed);
  do {
    if (permits > kMostPermits + std::min<std::int64_t>(seen >> 1, 0)) throw_too_many(-permits);
  } while (!word_.compare_exchange_weak(seen, seen - 2 * permits, std::memory_order_relaxed));
}

std::string Semaphore::to_string() const {
  return "creel::Semaphore" + (name_.empty() ? std::string() : " \"" + name_ + "\"") + " [" +
         std::to_string(available_permits()) + " permits]";
}

}  // namespace creel
