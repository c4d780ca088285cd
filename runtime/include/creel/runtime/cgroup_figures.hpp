#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace creel {

/// How much of the time tasks of a cgroup had to wait for a resource (Linux's pressure stall information).
struct CgroupPressure {
  double some_10s = 0, some_60s = 0, some_300s = 0;  ///< percent of the time that at least one had to wait
  double full_10s = 0, full_60s = 0, full_300s = 0;  ///< percent of the time that all had to
  std::chrono::microseconds some_total{0}, full_total{0};
};

/// What the control groups of a process, a container's for one, allow it and have counted for it; version 2
/// or 1. What the system does not tell is missing.
///
///     const creel::CgroupFigures figures = creel::CgroupFigures::current();
///     if (figures.memory_limit && figures.memory_usage > *figures.memory_limit * 9 / 10) shed_load();
struct CgroupFigures {
  int version = 0;  ///< 2 or 1; 0: no control group is mounted

  /// Bytes; the least of the group's and its parents' limits. nullopt: none.
  std::optional<std::uint64_t> memory_limit;
  std::optional<std::uint64_t> memory_usage;
  std::optional<std::uint64_t> memory_peak;
  std::optional<std::uint64_t> oom_kills;  ///< processes that were killed for want of memory

  /// Processors' worth of time that may be used, 1.5 for example; the least of the group's and its parents'.
  std::optional<double> cpu_limit;
  std::optional<std::chrono::microseconds> cpu_usage;
  std::optional<std::uint64_t> throttled_periods;  ///< in which the limit was reached
  std::optional<std::uint64_t> periods;
  std::optional<std::chrono::microseconds> throttled_time;

  std::optional<std::uint64_t> process_limit;  ///< threads count, too
  std::optional<std::uint64_t> process_count;

  std::optional<CgroupPressure> cpu_pressure, memory_pressure, io_pressure;

  /// Of the calling process. Reads some twenty small files of the kernel's.
  static CgroupFigures current();
  /// The same from /proc/PID (its mountinfo and cgroup), with the paths in there below `root`: another
  /// process's, or a test's.
  static CgroupFigures read(const std::filesystem::path& proc_folder,
                            const std::filesystem::path& root = "/");
};

}  // namespace creel
