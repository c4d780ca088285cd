#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace creel::detail {

class VirtualThread;

/// The virtual threads that one carrier is going to run, first in, first out. Its carrier puts at the tail;
/// it and the others, who steal, take from the head. Bounded: what does not fit goes to the shared queue,
/// where all find it.
///
/// Source: the run queue of Go's scheduler (D. Vyukov, Scalable Go Scheduler Design Doc, 2012).
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

  /// By its carrier only; nullptr if it is empty.
  VirtualThread* pop() noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
      VirtualThread* thread = slots_[head % kSize].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
        return thread;
      }
    }
  }

  /// Moves half of what is here to `thief`, which is empty and the calling carrier's own, and returns one of
  /// it.
  VirtualThread* steal(CarrierQueue& thief) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t size = tail_.load(std::memory_order_acquire) - head;
      if (size == 0) return nullptr;
      if (size > kSize) {  // the two loads saw different moments
        head = head_.load(std::memory_order_acquire);
        continue;
      }
      const std::uint32_t count = size - size / 2;
      const std::uint32_t to = thief.tail_.load(std::memory_order_relaxed);
      for (std::uint32_t i = 0; i < count; ++i) {
        thief.slots_[(to + i) % kSize].store(slots_[(head + i) % kSize].load(std::memory_order_relaxed),
                                             std::memory_order_relaxed);
      }
      if (!head_.compare_exchange_weak(head, head + count, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
        continue;
      }
      thief.tail_.store(to + count - 1, std::memory_order_release);
      return thief.slots_[(to + count - 1) % kSize].load(std::memory_order_relaxed);
    }
  }

  std::uint32_t size() const noexcept {
    return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_acquire);
  }

 private:
  static constexpr std::uint32_t kSize = 256;
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::array<std::atomic<VirtualThread*>, kSize> slots_{};
};

}  // namespace creel::detail
