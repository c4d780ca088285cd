#pragma once

#include "carrier_queue.hpp"
#include "fresh_thread_local.hpp"
#include "virtual_thread.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace creel::detail {

class VirtualScheduler;

/// A platform thread that runs virtual threads, one after the other.
struct Carrier {
  explicit Carrier(VirtualScheduler& its_scheduler, std::uint32_t its_index) noexcept
      : scheduler(its_scheduler), index(its_index) {}

  VirtualScheduler& scheduler;
  const std::uint32_t index;
  CarrierQueue queue;
  SwitchPoint point;                     // its own stack
  ThreadRecord* record = nullptr;        // its own record, good from its start on
  std::atomic<bool> has_record{false};   // for who did not start it
  ExceptionState* exceptions = nullptr;  // the platform thread's
  VirtualThread* mounted = nullptr;      // whom it runs
  VirtualThread* leaving = nullptr;      // who has just left for the one that runs now, and is to be settled
  VirtualThread* picked = nullptr;       // whom a leaving one has left for the carrier to run
  std::atomic<std::uint32_t> tick{0};    // turns it has given; stands still while a virtual thread computes

  // Stacks of the default size, kept for the next that begin here.
  static constexpr std::uint32_t kStacks = 64;
  std::array<std::uintptr_t, kStacks> stacks{};
  std::atomic<std::uint32_t> stack_count{0};  // written here only
  // How many threads have got a stack here, and how many have given theirs back.
  std::atomic<std::uint64_t> begun{0}, ended{0};

  // How many of the next wake-ups go to the queue, for others to steal, instead of to the place before it:
  // set when one in that place had to be stolen because its waker went on computing.
  std::atomic<std::uint32_t> no_hand_over{0};

  // While it looks for work: a carrier with a thread in the place before its queue, and its tick by then.
  const Carrier* watched = nullptr;
  std::uint32_t watched_tick = 0;
  bool searching = false;  // counted in VirtualScheduler::searching_; the carrier's own, or its waker's
  std::atomic<bool> is_woken{false};  // somebody took it off the list of idle or spare carriers
};

/// The calling thread's; nullptr if it is no carrier.
inline Carrier* current_carrier() noexcept {
  Carrier* carrier;
  CREEL_READ_THREAD_LOCAL(creel_carrier, carrier);
  return carrier;
}

}  // namespace creel::detail
