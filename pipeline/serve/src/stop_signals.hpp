#pragma once

#include <csignal>

namespace creel::pipeline {

/// Catches SIGTERM and SIGINT while it lives. wait() tells the first one; from then on both do again what
/// they did before, so that a second one ends the process. One at a time in a process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Blocks until one has come; returns its number. Throws InterruptedError.
  int wait();

 private:
  void restore() noexcept;

  struct sigaction old_term_ {};
  struct sigaction old_int_ {};
  bool installed_ = true;
};

}  // namespace creel::pipeline
