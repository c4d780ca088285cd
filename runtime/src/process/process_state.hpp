#pragma once

#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/process.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace creel {

/// What the handles of one process share. The loop's callback holds it, too, until the process has ended: so
/// that it is waited for even if nobody has a handle any more.
struct Process::State {
  /// Has the loop wait for the process. On failure the process is killed and waited for, and IoError thrown.
  static void watch(const std::shared_ptr<State>& state);

  pid_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::string name;  // "sort, pid 123"
  FdStream input, output, error;

  detail::WaitQueue waiters;
  std::atomic<bool> ended{false};  // what follows is written before, and read after it is true
  ExitStatus status;
  bool status_lost = false;
  std::function<void(const ProcessHandle&)> at_end;  // empty once called

  std::mutex lock;  // guards what follows
  UniqueFd pidfd;   // until it has been waited for
  std::vector<CompletableFuture<ExitStatus>> futures;

  void send_signal(int signal) noexcept;
  /// Waits for the process if it has ended; false if it has not. On the loop's thread.
  static bool reap(const std::shared_ptr<State>& state, int its_pidfd);
  bool take_status(int its_pidfd) noexcept;
  void run_at_end() noexcept;
  /// Of a process that has ended.
  void complete(const CompletableFuture<ExitStatus>& future) const;
  std::exception_ptr lost() const;
};

}  // namespace creel
