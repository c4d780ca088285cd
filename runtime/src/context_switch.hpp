#pragma once

#include <cstddef>
#include <cstdint>

// The one place that sees Boost.Context.

namespace creel::detail {

/// A stack that can be switched to: where it stopped, and what has to travel with it.
///
/// Besides the registers that is the C++ runtime's per-thread state of exceptions in flight (a virtual thread
/// may park inside a catch block and go on on another carrier), and what the sanitizers need to know.
struct SwitchPoint {
  void* context = nullptr;
  SwitchPoint* target = nullptr;   // whom the running side switches to: tells a new stack who it is
  void (*entry)(void*) = nullptr;  // of a new stack
  void* argument = nullptr;
  void* caught_exceptions = nullptr;
  unsigned uncaught_exceptions = 0;
  std::uintptr_t stack_low = 0;
  std::size_t stack_size = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* asan_fake_stack = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_fiber = nullptr;
#endif
};

/// Makes the running thread's own stack a switch point: one to come back to.
void adopt_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high) noexcept;

/// Prepares a new stack [low, high) so that the first switch to it calls `entry(argument)`, which never
/// returns: it ends by leave_for_ever().
void make_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high, void (*entry)(void*),
                void* argument) noexcept;

/// Goes on at `to`; returns when somebody switches to `from`, maybe on another thread.
void switch_stacks(SwitchPoint& from, SwitchPoint& to) noexcept;

/// The last switch away from a stack.
[[noreturn]] void leave_for_ever(SwitchPoint& from, SwitchPoint& to) noexcept;

/// After the last switch away: forgets the stack, whose memory may be used anew.
void discard_stack(SwitchPoint& point) noexcept;

}  // namespace creel::detail
