#pragma once

#include <atomic>

namespace creel::detail {

namespace asymmetric {
/// Whether the kernel runs fences for others (membarrier); decided once, before the first carrier.
extern const bool is_asymmetric;
}  // namespace asymmetric

/// Two threads that each write their own word and then read the other's need a full fence in between, or both
/// may read the old value. Where one side does so at every switch and the other only before it sleeps or
/// steals, the rare side can pay for both: its heavy fence makes every running thread of the process execute
/// one (membarrier(2)), and the light one is left with keeping the compiler in order.
inline void asymmetric_light_fence() noexcept {
  if (asymmetric::is_asymmetric) [[likely]] {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

void asymmetric_heavy_fence() noexcept;

}  // namespace creel::detail
