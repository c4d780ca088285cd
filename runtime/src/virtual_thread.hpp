#pragma once

#include "context_switch.hpp"
#include "thread_record.hpp"
#include "virtual_stack.hpp"

#include <cstddef>
#include <functional>

namespace creel::detail {

/// A thread that carriers run. Its stack comes with its first turn and goes with its end.
class VirtualThread final : public ThreadRecord {
 public:
  VirtualThread(std::function<void()> thread_body, UncaughtExceptionHandler uncaught,
                std::size_t bytes) noexcept
      : ThreadRecord(true), body(std::move(thread_body)), handler(std::move(uncaught)), stack_bytes(bytes) {}

  /// What its carrier does once its stack is left: before, nobody else may switch to it.
  enum class Next : std::uint8_t { Park, Yield, End };

  SwitchPoint point;
  Next next = Next::Yield;
  VirtualThread* link = nullptr;  // in the scheduler's shared queue
  Deadline deadline;              // in the timer
  std::size_t timer_index = kNotTimed;
  std::function<void()> body;
  UncaughtExceptionHandler handler;
  std::size_t stack_bytes;
  VirtualStack stack;

  static constexpr std::size_t kNotTimed = static_cast<std::size_t>(-1);
};

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
  explicit CarrierCompensation(const ThreadRecord& self);
  ~CarrierCompensation();
  CarrierCompensation(const CarrierCompensation&) = delete;
  CarrierCompensation& operator=(const CarrierCompensation&) = delete;

 private:
  const bool blocked_;
};

}  // namespace creel::detail
