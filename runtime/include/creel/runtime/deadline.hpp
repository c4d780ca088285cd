#pragma once

#include <chrono>
#include <type_traits>

namespace creel {

/// The one timeout type: a point on the steady clock, or never. A relative duration becomes a deadline once,
/// at the edge of the program, and is then passed on unchanged, so that nested waits share one budget. A
/// duration that is too long to count, or not a number, is never.
///
///     queue.poll(100ms);                 // converts
///     Deadline whole = 2s;               // 2 s for everything below
///     first.join(whole); second.join(whole);
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  /// Never.
  constexpr Deadline() noexcept = default;

  /// `duration` from now; a duration past the clock's range is never.
  template <typename Rep, typename Period>
  Deadline(std::chrono::duration<Rep, Period> duration) noexcept {  // NOLINT: implicit on purpose
    const Clock::time_point now = Clock::now();
    const std::chrono::duration<double> room = Clock::time_point::max() - now;
    if (std::chrono::duration<double>(duration) < room) {
      when_ = now + std::chrono::ceil<Clock::duration>(duration);
    }
  }

  Deadline(Clock::time_point when) noexcept : when_(when) {}  // NOLINT: implicit on purpose

  static constexpr Deadline never() noexcept { return {}; }

  /// Already passed: makes a blocking call try once.
  static Deadline now() noexcept { return Deadline(Clock::now()); }

  constexpr bool is_never() const noexcept { return when_ == Clock::time_point::max(); }
  bool expired() const noexcept { return !is_never() && Clock::now() >= when_; }

  /// Time left, never negative; duration::max() if never.
  Clock::duration remaining() const noexcept {
    if (is_never()) return Clock::duration::max();
    const Clock::duration left = when_ - Clock::now();
    return left > Clock::duration::zero() ? left : Clock::duration::zero();
  }

  constexpr Clock::time_point time_point() const noexcept { return when_; }

  friend constexpr auto operator<=>(const Deadline&, const Deadline&) noexcept = default;

 private:
  Clock::time_point when_ = Clock::time_point::max();
};

}  // namespace creel
