#pragma once

#include <creel/runtime/condition.hpp>
#include <creel/runtime/deadline.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace creel {

/// A barrier that threads wait at is broken: another thread there was interrupted, ran out of time, or its
/// action failed; or reset() was called.
class BrokenBarrierError : public Error {
 public:
  explicit BrokenBarrierError(const std::string& what,
                              std::source_location where = std::source_location::current())
      : Error(what, ErrorCode::Failed, where) {}
};

/// Lets a number of threads wait until all of them have come, again and again;
/// java.util.concurrent.CyclicBarrier.
///
///     creel::CyclicBarrier step{4, [&] { exchange_borders(); }, "step"};
///     each of 4 workers: for (;;) { compute_my_part(); step.await(); }
///
/// All or none: if one thread leaves early (interrupted, out of time, its action throws), all others get
/// BrokenBarrierError, and so does whoever comes later until reset(). Memory effects: what the threads did
/// before await() happens before the action, and that before what they do after it.
class CyclicBarrier {
 public:
  /// `action` runs in the thread that comes last, before the others go on. Throws Error if `parties` is 0.
  /// The name stands in dumps; it may be empty.
  CyclicBarrier(std::uint32_t parties, std::function<void()> action, std::string name = {});
  explicit CyclicBarrier(std::uint32_t parties, std::string name = {})
      : CyclicBarrier(parties, nullptr, std::move(name)) {}

  /// Waits until all have come. Returns in which order the thread came: parties() - 1 is the first, 0 the
  /// last. Throws BrokenBarrierError; InterruptedError when interrupted before or while it waits, and
  /// TimeoutError when `deadline` passes, both of which break the barrier; and what the action throws.
  std::uint32_t await(Deadline deadline = {});

  /// Breaks the barrier for those that wait and makes it new for those that come.
  void reset();
  bool is_broken() const;
  std::uint32_t parties() const noexcept { return parties_; }
  /// How many wait now.
  std::uint32_t number_waiting() const;

 private:
  struct Generation {
    bool broken = false;
  };

  void break_it() noexcept;
  void begin_generation();
  std::uint32_t wait_for_others(std::uint32_t index, Deadline deadline);
  std::string described() const;

  const std::uint32_t parties_;
  const std::function<void()> action_;
  const std::string name_;
  mutable ReentrantLock lock_;
  Condition tripped_;
  std::uint32_t missing_;                   // to come in this generation
  std::shared_ptr<Generation> generation_;  // shared with those that wait: they look at theirs when they wake
};

}  // namespace creel
