#pragma once

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/deadline.hpp>
#include <creel/runtime/exit_status.hpp>
#include <creel/runtime/fd_stream.hpp>
#include <creel/runtime/process_handle.hpp>

#include <sys/types.h>

#include <memory>
#include <optional>
#include <vector>

namespace creel {

/// A process that a ProcessBuilder started; java.lang.Process.
///
///     creel::Process sort = creel::ProcessBuilder{"sort"}.start();
///     sort.standard_input().write_all("b\na\n");
///     sort.standard_input().close();
///     CHECK(sort.standard_output().read_all_bytes() == "a\nb\n");
///     CHECK(sort.wait_for().success());
///
/// A handle: copies name the same process. Dropping the last one closes our ends of its pipes, but neither
/// ends the process nor leaves a zombie: the runtime waits for each process that it started, and for no
/// other. A program that ignores SIGCHLD, or that waits for all children by itself, takes the exit status
/// away; wait_for() then throws IoError (ECHILD).
///
/// A process that writes more than a pipe holds waits until somebody reads: read both outputs at once (two
/// threads), or merge them, if they may be long.
class Process {
 public:
  /// An empty handle; only assignment and operator bool are defined on it.
  Process() noexcept = default;
  explicit operator bool() const noexcept { return state_ != nullptr; }

  pid_t pid() const noexcept;
  ProcessHandle to_handle() const noexcept;
  ProcessInfo info() const { return to_handle().info(); }
  std::vector<ProcessHandle> children() const { return to_handle().children(); }
  std::vector<ProcessHandle> descendants() const { return to_handle().descendants(); }

  /// Our ends of its standard streams; closed where the builder redirected them to something else. They
  /// outlive the process: what it wrote can be read after its end.
  FdStream& standard_input() const noexcept;
  FdStream& standard_output() const noexcept;
  FdStream& standard_error() const noexcept;

  /// Waits for its end; nullopt if `deadline` passes first. Frees the carrier of a virtual thread. Throws
  /// InterruptedError.
  std::optional<ExitStatus> wait_for(Deadline deadline) const;
  ExitStatus wait_for() const;
  /// How it ended; nullopt while it runs.
  std::optional<ExitStatus> exit_status() const;
  bool is_alive() const noexcept;
  /// A future of its end, one of its own for each call: cancelling or completing it does nothing to the
  /// process. What is chained to it runs on a virtual thread, where it may block.
  ///
  ///     process.on_exit().then_accept([](const creel::ExitStatus& status) { report(to_string(status)); });
  CompletableFuture<ExitStatus> on_exit() const;

  /// Asks it to end (SIGTERM), or makes it (SIGKILL). Does not wait; no effect if it has ended.
  void destroy() const noexcept;
  void destroy_forcibly() const noexcept;
  void send_signal(int signal) const noexcept;

  friend bool operator==(const Process& a, const Process& b) noexcept { return a.state_ == b.state_; }

 private:
  friend class ProcessBuilder;
  struct State;
  explicit Process(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

}  // namespace creel
