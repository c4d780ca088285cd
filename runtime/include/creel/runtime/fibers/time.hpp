#pragma once

#include <creel/runtime/deadline.hpp>

#include <chrono>
#include <type_traits>

namespace creel::fibers::detail {

/// The time points of Boost.Fiber's API may be of any clock.
template <typename Clock, typename Duration>
Deadline deadline_of(const std::chrono::time_point<Clock, Duration>& when) {
  if constexpr (std::is_same_v<Clock, Deadline::Clock>) {
    // Not cast at once: time_point::max() of a coarser duration would overflow.
    if (when >= Deadline::Clock::time_point::max()) return Deadline::never();
    return Deadline(std::chrono::ceil<Deadline::Clock::duration>(when));
  } else {
    using Seconds = std::chrono::duration<double>;
    const Seconds left = Seconds(when.time_since_epoch()) - Seconds(Clock::now().time_since_epoch());
    if (left > std::chrono::hours(24 * 365)) return Deadline(left);  // beyond what `when - now` may hold
    return Deadline(when - Clock::now());
  }
}

}  // namespace creel::fibers::detail
