#pragma once

#include <creel/runtime/unique_fd.hpp>

#include <csignal>
#include <initializer_list>
#include <optional>
#include <vector>

namespace creel::pipeline::detail {

/// Turns signals into bytes of a pipe, for a loop that polls. One at a time in a process; puts the old
/// handlers back.
class SignalRelay {
 public:
  explicit SignalRelay(std::initializer_list<int> signals);
  ~SignalRelay();
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

  int fd() const noexcept { return read_.get(); }
  /// The next signal that came; nothing if none is waiting.
  std::optional<int> next() noexcept;

 private:
  struct Replaced {
    int signal;
    struct sigaction action;
  };
  UniqueFd read_;
  UniqueFd write_;
  std::vector<Replaced> replaced_;
};

}  // namespace creel::pipeline::detail
