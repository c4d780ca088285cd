#pragma once

#include <atomic>
#include <cstdint>

namespace creel::detail {

/// What happened in the whole process since it began; for counters that outsiders read. Counted where a
/// thread is about to wait anyway.
struct RuntimeCounters {
  alignas(64) std::atomic<std::uint64_t> contended_monitors{0};  ///< waits to enter a Monitor
  alignas(64) std::atomic<std::uint64_t> pins{
      0};                                       ///< virtual threads that held their carrier in a foreign wait
  std::atomic<std::int64_t> longest_pin_ns{0};  ///< of those that are over
};
inline RuntimeCounters runtime_counters;

}  // namespace creel::detail
