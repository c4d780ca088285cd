#pragma once

#include "unwind_row.hpp"
#include "wait_snapshot.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace creel::detail {

/// Copies the stacks of parked threads, dozens of them by one system call.
class StackBatch {
 public:
  struct Entry {
    std::size_t thread = 0;  ///< the caller's number of it
    WaitSnapshot wait;
    StackCopy stack;  ///< after copy(); empty if the stack is gone
  };

  StackBatch() : buffer_(kBytes) { entries_.reserve(kStacks); }

  /// Adds the stack from wait.registers.rsp to `high`, cut at `most` bytes. False if there is no room:
  /// copy(), look at the entries and clear() first.
  bool add(std::size_t thread, const WaitSnapshot& wait, std::uintptr_t high, std::size_t most);
  /// Reads all that were added, as they are at this moment or the next.
  void copy() noexcept;
  const std::vector<Entry>& entries() const noexcept { return entries_; }
  void clear() noexcept {
    entries_.clear();
    used_ = 0;
  }

 private:
  static constexpr std::size_t kStacks = 64, kBytes = std::size_t{512} << 10;

  std::vector<Entry> entries_;
  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;
};

/// The stack of a parked virtual thread, read where it is: its memory is never unmapped, and what a thread
/// that wakes meanwhile writes to it costs the walk, not the program. Empty under a sanitizer, which would
/// take that for a mistake: it is then to be copied.
StackCopy parked_stack_in_place(std::uintptr_t low, std::uintptr_t high) noexcept;

}  // namespace creel::detail
