#pragma once

#include <cstddef>

// Stack overflows are told by name instead of ending the process with a bare SIGSEGV.
//
// The thread that ran over its stack takes the signal on its alternate stack and stands still there; another
// thread, which has a stack to work with, reads its frames and writes the report. If that one does not get
// through (the overflow may have happened inside malloc), the handler says what it can by itself after a
// while.

namespace creel::detail {

/// A signal stack for the calling thread, unless it has one already; given back when it is destroyed on the
/// same thread.
class AlternateStack {
 public:
  AlternateStack() noexcept;
  ~AlternateStack();
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  void* memory_ = nullptr;
  std::size_t size_ = 0;
};

/// Handles SIGSEGV and SIGBUS: an overflow makes `report_fd` (an eventfd) readable. What is no overflow goes
/// to the handlers that were there before. Does nothing under a sanitizer, which has handlers of its own.
void install_overflow_handler(int report_fd) noexcept;
void uninstall_overflow_handler() noexcept;

/// Writes the report of the thread that waits for it, if one does, to stderr. On a thread of its own stack.
void report_overflow() noexcept;

}  // namespace creel::detail
