#pragma once

#include <string>

namespace creel {

/// How a process ended.
struct ExitStatus {
  int code = 0;    ///< what it passed to exit(); 128 + signal if a signal ended it, as Java and shells count
  int signal = 0;  ///< the signal that ended it; 0: none, it exited
  bool dumped_core = false;

  /// It exited, with code 0.
  bool success() const noexcept { return code == 0; }

  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// "exit code 3", "killed by SIGKILL", "killed by SIGSEGV, core dumped".
std::string to_string(const ExitStatus& status);

}  // namespace creel
