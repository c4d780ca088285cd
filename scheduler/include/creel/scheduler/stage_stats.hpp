#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace creel::scheduler {

/// How a stage spent its time. Seconds are sums over its workers; busy + starved + blocked is at most
/// workers x elapsed, and the rest is the scheduler's own.
struct StageStats {
  std::string name;
  std::size_t workers = 0;
  std::uint64_t items = 0;    ///< done, dropped ones included
  std::uint64_t dropped = 0;  ///< failed and left out
  double busy = 0;            ///< in the stage's own code
  double starved = 0;         ///< waiting for input
  double blocked = 0;         ///< waiting for room in its output
  double elapsed = 0;         ///< seconds from the first worker's start to the last one's end, or to now
};

/// The table that ends a run: one line a stage, and a bar of its workers' time, `#` busy, `.` starved, `~`
/// blocked. The stage with the longest run of `#` is the one to give more workers.
std::string to_table(std::span<const StageStats> stages);

}  // namespace creel::scheduler
