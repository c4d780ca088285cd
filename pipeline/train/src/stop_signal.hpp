#pragma once

namespace creel::pipeline {

/// While it lives, SIGTERM and SIGINT only leave a note, so that the run can write a checkpoint after the
/// step it is in. A second signal of either kind ends the process at once. One at a time; restores what it
/// replaced.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// The signal that came, or 0.
  static int received() noexcept;
};

}  // namespace creel::pipeline
