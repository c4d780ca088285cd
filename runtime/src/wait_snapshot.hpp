#pragma once

#include "thread_record.hpp"
#include "unwind_row.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace creel::detail {

/// A consistent copy of a ParkSite, taken while its thread was parked.
struct WaitSnapshot {
  std::uint64_t epoch = 0;
  Registers registers;
  const void* object = nullptr;
  const char* type = nullptr;
  const char* name = nullptr;
  const std::atomic<std::uint64_t>* owner = nullptr;
  const WakerSet* wakers = nullptr;
  WaitKind kind = WaitKind::Parking;
  bool timed = false;
  std::int64_t since_ns = 0;

  /// Id of the owner at this moment; 0 if there is none or the object is gone.
  std::uint64_t read_owner() const noexcept;
  /// The object's name; empty if it has none or is gone.
  std::string read_name() const;
};

/// Where a walk up the stack of a parked thread begins.
WalkRegisters to_walk(const Registers& from) noexcept;

/// nullopt if the thread is not parked.
std::optional<WaitSnapshot> read_wait(const ParkSite& site) noexcept;

/// Whether the thread has been in that same wait all the time since the snapshot.
inline bool still_waits(const ParkSite& site, const WaitSnapshot& wait) noexcept {
  std::atomic_thread_fence(std::memory_order_acquire);  // what was read in between comes before this look
  return site.epoch.load(std::memory_order_relaxed) == wait.epoch;
}

/// A NUL-terminated text that may not be there any more; at most 255 bytes of it.
std::string safe_read_text(const char* text);

}  // namespace creel::detail
