#pragma once

#include <cstddef>
#include <cstdint>

namespace creel::detail {

/// The C++ runtime's state of exceptions in flight, per thread of the operating system: a virtual thread may
/// park inside a catch block and go on on another carrier, so that whoever switches saves and restores it.
struct ExceptionState {  // laid out as the Itanium C++ ABI has it (section 2.2.2)
  void* caught = nullptr;
  unsigned uncaught = 0;
};

/// The calling platform thread's; the same for all its life.
ExceptionState& exception_state() noexcept;

/// A stack that can be switched to: where it stopped, and what the sanitizers need to know of it.
struct SwitchPoint {
  void* context = nullptr;  // the stack pointer where it stopped
#if defined(__SANITIZE_ADDRESS__)
  std::uintptr_t stack_low = 0;
  std::size_t stack_size = 0;
  void* asan_fake_stack = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_fiber = nullptr;
#endif
};

/// Makes the running platform thread's own stack a switch point: one to come back to.
void adopt_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high) noexcept;

/// Prepares a new stack [low, high) so that the first switch to it calls `entry()`, which never returns: it
/// ends by leave_for_ever(). Its floating-point modes are the caller's.
void make_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high, void (*entry)()) noexcept;

/// Goes on at `to`; returns when somebody switches to `from`, maybe on another platform thread.
void switch_stacks(SwitchPoint& from, SwitchPoint& to) noexcept;

/// The last switch away from a stack.
[[noreturn]] void leave_for_ever(SwitchPoint& from, SwitchPoint& to) noexcept;

/// After the last switch away: forgets the stack, whose memory may be used anew.
void discard_stack(SwitchPoint& point) noexcept;

}  // namespace creel::detail
