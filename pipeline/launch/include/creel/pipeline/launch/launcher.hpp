#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace creel::pipeline {

/// The ranks of one run on this machine.
struct LaunchPlan {
  std::filesystem::path worker;        ///< the program of a rank
  std::vector<std::string> arguments;  ///< of each rank; `--rank R --ranks N --world-fd FD` follow them
  int ranks = 1;
  std::filesystem::path run_dir;  ///< where processes.json stands while the ranks live
  /// What a rank has to leave by itself after another was lost, before it is killed.
  std::chrono::milliseconds grace{3000};
  /// How long the others may take to reach the collective they will wait in, so that the message can name it.
  std::chrono::milliseconds settle{500};
};

struct LaunchResult {
  int exit_code = 0;  ///< 0, that of the rank that failed first, 5 if one was lost, 128 + signal if stopped
  std::string
      message;  ///< why, if the run did not end well: which rank, and what the others were waiting for
};

/// Starts `creel-worker` once per rank, joined by the shared memory of a comm::World, and waits until all
/// have ended.
///
/// A rank that dies or fails ends the run: the others are woken from their collectives and given `grace`.
/// SIGINT and SIGTERM ask the ranks to write a checkpoint and stop; a second one kills them. While this runs,
/// both signals' handlers are its own; they are put back after. Nothing of the ranks outlives this call, nor
/// the death of this process, with which the kernel kills them.
///
/// Throws Error(Missing) if the worker cannot be started, IoError if memory or processes run out.
LaunchResult run_ranks(const LaunchPlan& plan);

/// The worker program: CREEL_WORKER if set, else `creel-worker` beside the running executable. Throws
/// Error(Missing).
std::filesystem::path find_worker();

}  // namespace creel::pipeline
