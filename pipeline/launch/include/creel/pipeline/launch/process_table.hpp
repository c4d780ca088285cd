#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace creel::pipeline {

/// A process by number and start time: a number alone is given to another process later.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< clock ticks from the machine's start (/proc/PID/stat, field 22)

  /// The process that has this number now; nothing if none has.
  static std::optional<ProcessIdentity> of(pid_t pid);
  bool is_alive() const;
};

/// The processes of a run, as RUN_DIR/processes.json tells them to `creel dump` while the run
/// lives.
struct ProcessTable {
  ProcessIdentity launcher;
  std::vector<ProcessIdentity> ranks;  ///< in rank order

  void write(const std::filesystem::path& run_dir) const;
  /// Nothing if the folder has no table, or one that cannot be read.
  static std::optional<ProcessTable> read(const std::filesystem::path& run_dir);
  static void remove(const std::filesystem::path& run_dir) noexcept;
};

}  // namespace creel::pipeline
