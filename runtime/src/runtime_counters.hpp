#pragma once

#include <atomic>
#include <cstdint>

namespace creel::detail {

/// What happened in the whole process since it began; for counters that outsiders read. Counted where a
/// thread is about to wait anyway.
struct RuntimeCounters {
  alignas(64) std::atomic<std::uint64_t> contended_monitors{0};  ///< waits to enter a Monitor
};
inline RuntimeCounters runtime_counters;

}  // namespace creel::detail
