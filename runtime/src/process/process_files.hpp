#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace creel::detail {

/// What /proc/PID/stat tells.
struct ProcessStat {
  char state = '?';
  pid_t parent = 0;
  std::uint64_t cpu_ticks = 0;    // user and system
  std::uint64_t start_ticks = 0;  // since the machine's start

  bool is_alive() const noexcept { return state != 'Z' && state != 'X'; }
};

/// A file of the kernel's, whole; nullopt if it cannot be read.
std::optional<std::string> read_kernel_file(const std::filesystem::path& path);
/// nullopt: there is no such process.
std::optional<ProcessStat> read_process_stat(pid_t pid);
std::vector<pid_t> list_processes();

/// Linux 5.3; negative errno if it cannot be had. The numbers, since glibc 2.36's <sys/pidfd.h> lacks its
/// extern "C".
int open_pidfd(pid_t pid) noexcept;
/// 0 or negative errno.
int send_signal_to(int pidfd, int signal) noexcept;

}  // namespace creel::detail
