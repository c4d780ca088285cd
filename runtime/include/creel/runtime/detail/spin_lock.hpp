#pragma once

#include <sched.h>

#include <atomic>

namespace creel::detail {

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Guards a few pointer moves inside a synchronizer; one byte. Never held across a wait. Gives the processor
/// away after a short spin, since its holder may have lost its own.
class SpinLock {
 public:
  void lock() noexcept {
    while (held_.exchange(true, std::memory_order_acquire)) wait_until_free();
  }
  bool try_lock() noexcept { return !held_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

  /// Returns once it has been seen free: whoever held it before does not touch it any more.
  void wait_until_free() const noexcept {
    for (int spins = 0; held_.load(std::memory_order_acquire);) {
      if (++spins < 64) {
        cpu_relax();
      } else {
        ::sched_yield();
      }
    }
  }

 private:
  std::atomic<bool> held_{false};
};

}  // namespace creel::detail
