#pragma once

#include <creel/runtime/unique_fd.hpp>

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace creel::pipeline::detail {

/// A started process that dies with the thread that started it. Killed and waited for at the end of its life.
class ChildProcess {
 public:
  /// Runs `program` with `arguments` (without its name). `inherited` stays open in the child under the same
  /// number; every other descriptor of ours is close-on-exec. Throws Error(Missing) if the program cannot be
  /// executed.
  ChildProcess(const std::filesystem::path& program, const std::vector<std::string>& arguments,
               int inherited);
  ~ChildProcess();
  ChildProcess(ChildProcess&&) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) = delete;

  pid_t pid() const noexcept { return pid_; }
  bool running() const noexcept { return static_cast<bool>(pidfd_); }
  /// Readable when the process has ended.
  int pidfd() const noexcept { return pidfd_.get(); }
  void kill(int signal) const noexcept;

  /// The wait status (WIFEXITED …) if the process has ended since. Removes what it left in /tmp before its
  /// number is free.
  std::optional<int> reap() noexcept;

 private:
  pid_t pid_ = 0;
  UniqueFd pidfd_;  // closed once waited for
};

}  // namespace creel::pipeline::detail
