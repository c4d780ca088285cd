#pragma once

#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace creel {

/// A number of permits that threads take and give back; java.util.concurrent.Semaphore. Permits belong to
/// nobody: any thread may release.
///
///     creel::Semaphore connections{8, "connections"};
///     connections.acquire();
///     …
///     connections.release();
///
/// A fair semaphore serves waiting threads in their order; others let a running thread go first.
/// try_acquire() without a deadline takes permits that are there even if the semaphore is fair and others
/// wait. Memory effects: what a thread did before release() happens before what follows the acquire() that
/// took the permit.
class Semaphore {
 public:
  enum class Fairness : bool { Unfair, Fair };

  /// As many permits there may be, above zero and below.
  static constexpr std::int64_t kMostPermits = std::numeric_limits<std::int64_t>::max() / 2;

  /// `permits` may be negative: that many releases come first. The name stands in dumps; it may be empty.
  explicit Semaphore(std::int64_t permits, std::string name = {}, Fairness fairness = Fairness::Unfair);

  /// Takes `permits` at once, waiting until there are that many. Throws InterruptedError.
  void acquire(std::int64_t permits = 1);
  /// As acquire(), but interrupt() does not end it; the flag is kept.
  void acquire_uninterruptibly(std::int64_t permits = 1);
  /// Takes `permits` if they are there.
  bool try_acquire(std::int64_t permits = 1);
  /// Waits until `deadline`; returns whether the permits were taken. Throws InterruptedError.
  bool try_acquire(Deadline deadline) { return try_acquire(1, deadline); }
  bool try_acquire(std::int64_t permits, Deadline deadline);
  /// Throws Error, and adds nothing, if there were more than kMostPermits then.
  void release(std::int64_t permits = 1);

  std::int64_t available_permits() const noexcept { return word_.load(std::memory_order_relaxed) >> 1; }
  /// Takes all that are there, so that there are none; returns how many. Of a number below zero, which then
  /// becomes zero too, that number.
  std::int64_t drain_permits() noexcept;
  /// Takes `permits` away without waiting, below zero if need be: for permits that stand for something that
  /// is gone. Throws Error if `permits` is negative, as all calls do that take a number, and if there were
  /// less than -kMostPermits then.
  void reduce_permits(std::int64_t permits);

  bool is_fair() const noexcept { return fair_; }
  bool has_queued_threads() const noexcept { return !queue_.empty(); }
  /// How many threads wait, about: they come and go.
  std::uint32_t queue_length() const noexcept { return queue_.size(); }
  std::string to_string() const;

 private:
  void check(std::int64_t permits) const;
  [[noreturn]] void throw_too_many(std::int64_t more) const;
  detail::WaitOutcome wait(std::int64_t permits, Deadline deadline, detail::Interruptible interruptible);

  static constexpr std::int64_t kWaiters = 1;
  std::atomic<std::int64_t> word_;  // 2 × permits, + kWaiters while somebody may wait
  const bool fair_;
  const std::string name_;
  detail::WaitQueue queue_;
};

}  // namespace creel
