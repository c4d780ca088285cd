#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/spin_lock.hpp>

namespace creel::detail {

/// Whether the process has a second processor on which what is waited for could happen.
bool has_several_processors() noexcept;

/// How often to look before a park that costs two switches, where what is waited for is mostly over sooner.
inline int brief_spins() noexcept { return has_several_processors() ? 50 : 0; }

/// Looks for `ready()` for about 10 µs, a little more than a thread needs to be put to sleep and woken again:
/// what comes that soon is met without the kernel, and a wait costs twice at most what it would have. Only on
/// platform threads: a virtual one leaves its carrier for less.
template <typename Ready>
bool spin_until(Ready ready) noexcept {
  constexpr auto kPatience = std::chrono::microseconds(10);
  if (!has_several_processors()) return ready();
  int pauses = 1;  // more and more: each look takes the cache line from the one who is to write it
  for (const auto end = Deadline::Clock::now() + kPatience; Deadline::Clock::now() < end;) {
    if (ready()) return true;
    for (int i = 0; i < pauses; ++i) cpu_relax();
    if (pauses < 16) pauses *= 2;
  }
  return ready();
}

}  // namespace creel::detail
