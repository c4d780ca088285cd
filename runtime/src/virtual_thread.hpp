#pragma once

#include "context_switch.hpp"
#include "thread_record.hpp"
#include "virtual_stack.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <utility>

namespace creel::detail {

/// A thread that carriers run. Its stack comes with its first turn and goes with its end.
///
/// A million of them live at once: what is needed only while it runs lies on its stack (RunningState), and
/// its body, until it has one, where a wait of it will store its registers.
class VirtualThread final : public ThreadRecord {
 public:
  VirtualThread(std::function<void()> body, std::size_t bytes) noexcept : ThreadRecord(true) {
    stack_low.store(bytes, std::memory_order_relaxed);  // how many it wants, until it has one
    ::new (body_place()) std::function<void()>(std::move(body));
  }
  ~VirtualThread() {
    if (!has_begun()) take_body();  // it could not be started
  }

  /// What the next one on its carrier does once this one's stack is left: before, nobody else may switch to
  /// it.
  enum class Next : std::uint8_t { Park, Yield, End };

  bool has_begun() const noexcept { return begun_; }
  /// At the beginning of its first turn, or instead of one.
  std::function<void()> take_body() noexcept {
    auto& body = *std::launder(static_cast<std::function<void()>*>(body_place()));
    std::function<void()> taken = std::move(body);
    std::destroy_at(&body);
    ::new (static_cast<void*>(&park_site.registers)) Registers;
    begun_ = true;
    return taken;
  }

  SwitchPoint point;
  VirtualThread* link = nullptr;  // in the scheduler's shared queue
  std::uint32_t timer_index = kNotTimed;
  Next next = Next::Yield;
  bool pinned = false;                       // in a PinnedScope: not to leave its carrier
  std::atomic<std::uint8_t> compensated{0};  // CarrierCompensations of its own; for others to read

  static constexpr std::uint32_t kNotTimed = static_cast<std::uint32_t>(-1);

 private:
  static_assert(sizeof(std::function<void()>) <= sizeof(Registers));
  static_assert(alignof(std::function<void()>) <= alignof(Registers));
  void* body_place() noexcept { return &park_site.registers; }

  bool begun_ = false;
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// With the reference counts and what malloc adds, a page of stack and this are at most 1.1 pages.
static_assert((sizeof(VirtualThread) + 16 + 8 + 15) / 16 * 16 <= 4096 / 10);
#endif

/// Hands a new virtual thread to the carriers.
void start_virtual(VirtualThread& thread);
/// Waits for a permit or the deadline: the calling virtual thread's own wait, inside run_published().
void park_virtual(VirtualThread& self, Deadline deadline) noexcept;
/// Makes a parked one, whose permit the caller has just set, run again.
void unpark_virtual(VirtualThread& thread) noexcept;
/// Lets the carrier run others first.
void yield_virtual(VirtualThread& self) noexcept;

/// While it lives, the calling virtual thread's carrier counts as blocked, and another one runs in its place.
/// Nothing on a platform thread.
class CarrierCompensation {
 public:
  explicit CarrierCompensation(ThreadRecord& self);
  ~CarrierCompensation();
  CarrierCompensation(const CarrierCompensation&) = delete;
  CarrierCompensation& operator=(const CarrierCompensation&) = delete;

 private:
  VirtualThread* const blocked_;  // null: a platform thread
};

/// A wait that the current virtual thread does not leave its carrier for: another carrier takes its place
/// until the end of the scope.
class PinnedWait {
 public:
  PinnedWait();
  ~PinnedWait();
  PinnedWait(const PinnedWait&) = delete;
  PinnedWait& operator=(const PinnedWait&) = delete;
};

}  // namespace creel::detail
