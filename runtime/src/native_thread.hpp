#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

// The one place that sees pthreads.

namespace creel::detail {

class ThreadRecord;

struct StackBounds {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
};

/// [low, high) of the calling thread's native stack; zeros if the system does not say.
StackBounds current_stack_bounds() noexcept;

/// CLOCK_MONOTONIC in nanoseconds.
std::int64_t monotonic_ns() noexcept;
/// The same clock as it was at the last tick of the kernel, some milliseconds ago; several times cheaper.
std::int64_t coarse_monotonic_ns() noexcept;

/// Starts a detached thread that runs `entry(argument)` and inherits the caller's signal mask. Returns 0 or
/// errno's value.
int start_native_thread(std::size_t stack_size, void* (*entry)(void*), void* argument) noexcept;

/// Keeps `record` alive until the calling thread's last destructor of a thread_local has run, then calls
/// `ended`.
void end_with_thread(std::shared_ptr<ThreadRecord> record, void (*ended)(ThreadRecord&)) noexcept;

/// Shows `name` to ps, gdb and perf: the kernel keeps 15 bytes, so a longer name keeps its head and its
/// counter.
void set_kernel_name(pid_t tid, const std::string& name) noexcept;

/// Java's 1..10 as nice 4..-5; silently nothing where the process may not.
void set_kernel_priority(pid_t tid, int priority) noexcept;

/// Why no thread could be started, with the limits that were probably met.
std::string describe_thread_limits(int error_number);

}  // namespace creel::detail
