#pragma once

#include "virtual_thread.hpp"

#include <creel/runtime/detail/spin_lock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace creel::detail {

/// Virtual threads whose first turn came while the system gave no memory for one more stack, in order: each
/// begins when another one ends.
class StackShortage {
 public:
  bool exists() const noexcept { return count_.load(std::memory_order_relaxed) != 0; }
  void add(VirtualThread& thread) noexcept;
  /// Takes out the first that a stack of `bytes` is enough for, or else the first; nullptr if there is none.
  VirtualThread* take(std::size_t bytes) noexcept;
  /// Takes that one out; false if it is not there any more.
  bool remove(const VirtualThread& thread) noexcept;

 private:
  template <typename Matches>
  VirtualThread* unlink(Matches matches) noexcept;

  SpinLock lock_;  // guards what follows
  VirtualThread* head_ = nullptr;
  VirtualThread* tail_ = nullptr;
  std::atomic<std::uint32_t> count_{0};  // read without it
};

}  // namespace creel::detail
