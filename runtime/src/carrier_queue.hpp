#pragma once

#include "asymmetric_fence.hpp"

#include <creel/runtime/detail/spin_lock.hpp>

#include <array>
#include <atomic>
#include <cstdint>

namespace creel::detail {

class VirtualThread;

/// The virtual threads that one carrier is going to run, first in, first out, with one place before them all:
/// the thread that the running one has just woken, and to which it most likely hands over by parking.
///
/// Its carrier takes at every switch, others steal when they have nothing else to do. So the carrier takes
/// with plain loads and stores, and says that it does by `busy_`; a thief claims the queue, lets the kernel
/// fence the carrier (asymmetric_fence.hpp), and waits until it is not busy. What does not fit goes to the
/// shared queue, where all find it.
class CarrierQueue {
 public:
  /// By its carrier only; false if it is full.
  bool push(VirtualThread* thread) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);  // the slot's taker has read it
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head >= kSize) return false;
    slots_[tail % kSize].store(thread, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);  // publishes the slot, and the thread's stack
    return true;
  }

  /// By its carrier only: puts `thread` before all others; returns the one that was there, or nullptr.
  VirtualThread* push_first(VirtualThread* thread) noexcept {
    const Busy busy{*this};
    VirtualThread* before = first_.load(std::memory_order_relaxed);
    first_.store(thread, std::memory_order_release);
    return before;
  }

  /// By its carrier only; nullptr if it is empty.
  VirtualThread* pop() noexcept {
    const Busy busy{*this};
    if (VirtualThread* thread = first_.load(std::memory_order_relaxed);
        thread != nullptr && ++first_in_a_row_ < kMostFirstInARow) {
      first_.store(nullptr, std::memory_order_relaxed);
      return thread;
    }
    first_in_a_row_ = 0;  // two threads that wake each other do not keep out the rest
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) {
      VirtualThread* thread = first_.load(std::memory_order_relaxed);
      if (thread != nullptr) first_.store(nullptr, std::memory_order_relaxed);
      return thread;
    }
    VirtualThread* thread = slots_[head % kSize].load(std::memory_order_relaxed);
    head_.store(head + 1, std::memory_order_relaxed);
    return thread;
  }

  /// Moves half of what is here to `thief`, which is empty and the calling carrier's own, and returns one of
  /// it. The place before all others is left alone unless `first_too`.
  VirtualThread* steal(CarrierQueue& thief, bool first_too) noexcept {
    if (size() == 0 && !(first_too && has_first())) return nullptr;
    if (claimed_.exchange(true, std::memory_order_acquire)) return nullptr;  // one thief at a time
    asymmetric_heavy_fence();
    VirtualThread* stolen = nullptr;
    if (wait_until_not_busy()) {
      stolen = take_half(thief);
      if (stolen == nullptr && first_too) {
        stolen = first_.load(std::memory_order_acquire);
        first_.store(nullptr, std::memory_order_relaxed);
      }
    }
    claimed_.store(false, std::memory_order_release);
    return stolen;
  }

  /// Without the one before all others.
  std::uint32_t size() const noexcept {
    return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_acquire);
  }
  bool has_first() const noexcept { return first_.load(std::memory_order_relaxed) != nullptr; }

 private:
  static constexpr std::uint32_t kSize = 256;
  static constexpr std::uint32_t kMostFirstInARow = 32;

  // While it lives the carrier takes, and no thief does.
  class Busy {
   public:
    explicit Busy(CarrierQueue& queue) noexcept : queue_(queue) {
      for (;;) {
        queue.busy_.store(true, std::memory_order_relaxed);
        asymmetric_light_fence();
        if (!queue.claimed_.load(std::memory_order_acquire)) [[likely]]
          return;
        queue.busy_.store(false, std::memory_order_release);
        queue.wait_for_thief();
      }
    }
    ~Busy() { queue_.busy_.store(false, std::memory_order_release); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    CarrierQueue& queue_;
  };

  [[gnu::noinline, gnu::cold]] void wait_for_thief() const noexcept {
    for (int spins = 0; claimed_.load(std::memory_order_acquire);) {
      if (++spins < 64) {
        cpu_relax();
      } else {
        ::sched_yield();
      }
    }
  }

  // The carrier is busy for a few instructions, unless it has lost its processor: then there is no hurry.
  bool wait_until_not_busy() const noexcept {
    for (int spins = 0; spins < 256; ++spins, cpu_relax()) {
      if (!busy_.load(std::memory_order_acquire)) return true;
    }
    return false;
  }

  VirtualThread* take_half(CarrierQueue& thief) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    const std::uint32_t size = tail_.load(std::memory_order_acquire) - head;
    if (size == 0) return nullptr;
    const std::uint32_t count = size - size / 2;
    const std::uint32_t to = thief.tail_.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < count; ++i) {
      thief.slots_[(to + i) % kSize].store(slots_[(head + i) % kSize].load(std::memory_order_relaxed),
                                           std::memory_order_relaxed);
    }
    head_.store(head + count, std::memory_order_release);
    thief.tail_.store(to + count - 1, std::memory_order_release);
    return thief.slots_[(to + count - 1) % kSize].load(std::memory_order_relaxed);
  }

  alignas(64) std::atomic<std::uint32_t> head_{0};
  std::atomic<std::uint32_t> tail_{0};
  std::atomic<VirtualThread*> first_{nullptr};
  std::uint32_t first_in_a_row_ = 0;
  std::atomic<bool> busy_{false};
  std::atomic<bool> claimed_{false};
  alignas(64) std::array<std::atomic<VirtualThread*>, kSize> slots_{};
};

}  // namespace creel::detail
