#pragma once

#include <cstddef>
#include <cstdint>

namespace creel::detail {

/// The stack of a virtual thread, [low, high). What it has not touched costs address space only.
struct VirtualStack {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
  bool fresh = false;  // nobody has used it
  explicit operator bool() const noexcept { return high != 0; }
};

constexpr std::size_t kDefaultVirtualStackBytes = 64 * 1024;

/// A stack of at least `bytes` (rounded up to pages, at least 16 KiB), a used one if there is one. Throws
/// Error if the system gives no more address space.
///
/// The first 16,384 of the process have a guard page below, so that running over the end faults; more would
/// use up the kernel's limit of mappings (vm.max_map_count), so that the others are
/// checked when they park.
VirtualStack acquire_virtual_stack(std::size_t bytes);

/// Gives it back. A few thousand stay as they are, for the next ones; the memory of more returns to the
/// system.
void release_virtual_stack(VirtualStack stack) noexcept;

/// In a fork()ed child: the stacks of the other threads are lost, the lock is not.
void reset_virtual_stacks_after_fork() noexcept;

}  // namespace creel::detail
