#pragma once

#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace creel {

/// Lets threads wait until a number of things have happened; java.util.concurrent.CountDownLatch. One way: it
/// cannot be set again.
///
///     creel::CountDownLatch done{4, "workers done"};
///     each worker: … done.count_down();
///     if (!done.await(10s)) …
///
/// It may be destroyed as soon as await() has returned true, also while the last count_down() is still
/// returning. Memory effects: what a thread did before count_down() happens before await() returns true.
class CountDownLatch {
 public:
  /// The name stands in dumps; it may be empty. Throws Error for a count that was negative before it came
  /// here.
  explicit CountDownLatch(std::uint64_t count, std::string name = {});

  /// Waits until the count is 0; false if `deadline` passes first. Throws InterruptedError.
  bool await(Deadline deadline = {});
  /// One less; at 0 nothing happens.
  void count_down() noexcept;
  std::uint64_t count() const noexcept { return count_.load(std::memory_order_acquire); }
  std::string to_string() const;

 private:
  std::atomic<std::uint64_t> count_;
  const std::string name_;
  detail::WaitQueue queue_;
};

}  // namespace creel
