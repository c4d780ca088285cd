#pragma once

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/deadline.hpp>

#include <sys/types.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace creel {

/// What the system tells of a process; java.lang.ProcessHandle.Info. What it does not tell (the process has
/// ended, or is another user's) is missing.
struct ProcessInfo {
  std::optional<std::string> command;       ///< path of the executable
  std::optional<std::string> command_line;  ///< all arguments, separated by blanks, for people
  std::vector<std::string> arguments;       ///< without the program's name
  std::optional<std::string> user;          ///< its name, or the number if it has none
  std::optional<std::chrono::system_clock::time_point> start_instant;  ///< to 10 ms
  std::optional<std::chrono::nanoseconds> total_cpu_duration;          ///< of all its threads, to 10 ms
};

/// A process of this machine, ours or not; java.lang.ProcessHandle.
///
///     for (const creel::ProcessHandle& child : creel::ProcessHandle::current().descendants()) {
///       child.destroy();
///       child.wait_for(2s);
///     }
///
/// A value: it knows the process's number and the moment of its start. A number that the system has given to
/// another process since is another process: it is neither alive for this handle nor ever signalled by it.
class ProcessHandle {
 public:
  /// The process with this number; nullopt if there is none.
  static std::optional<ProcessHandle> of(pid_t pid);
  static ProcessHandle current();
  /// Those that can be seen, in the order of their numbers. A snapshot: processes come and go meanwhile.
  static std::vector<ProcessHandle> all_processes();

  pid_t pid() const noexcept { return pid_; }
  /// When it started, in clock ticks since the machine did (/proc/PID/stat, field 22): with the number it
  /// names the process for good.
  std::uint64_t start_ticks() const noexcept { return start_ticks_; }
  /// nullopt if it has none that can be seen, or has ended.
  std::optional<ProcessHandle> parent() const;
  std::vector<ProcessHandle> children() const;
  /// Children, their children and so on, parents before their children.
  std::vector<ProcessHandle> descendants() const;
  ProcessInfo info() const;

  /// It has not ended. One that has, but whose parent has not waited for it (a zombie), is not alive.
  bool is_alive() const noexcept;

  /// Asks it to end (SIGTERM), or makes it (SIGKILL); false if it is not alive. Does not wait. Throws
  /// IoError (EPERM) if it is another user's, Error if it is the current process.
  bool destroy() const;
  bool destroy_forcibly() const;
  /// Sends any signal (0: none, only asks whether it could be), also to the current process.
  bool send_signal(int signal) const;

  /// Waits until it has ended, whoever its parent is; false if `deadline` passes first. Frees the carrier of
  /// a virtual thread. Throws InterruptedError; IoError if the system cannot watch it, Error if it is the
  /// current process.
  bool wait_for(Deadline deadline = {}) const;
  /// A future of this handle that is done when the process has ended; else as Process::on_exit(), which also
  /// says how it ended: only the parent is told. Throws as wait_for().
  CompletableFuture<ProcessHandle> on_exit() const;

  friend auto operator<=>(const ProcessHandle&, const ProcessHandle&) = default;

 private:
  friend class Process;
  friend struct std::hash<ProcessHandle>;
  ProcessHandle(pid_t pid, std::uint64_t start_ticks) noexcept : pid_(pid), start_ticks_(start_ticks) {}

  pid_t pid_;
  std::uint64_t start_ticks_;  // since the machine's start
};

}  // namespace creel

template <>
struct std::hash<creel::ProcessHandle> {
  std::size_t operator()(const creel::ProcessHandle& handle) const noexcept {
    return std::hash<std::uint64_t>()(handle.start_ticks_ * 4194304 +
                                      static_cast<std::uint64_t>(handle.pid_));
  }
};
