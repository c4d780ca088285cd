#pragma once

#include <filesystem>

namespace creel::pipeline {

/// What one rank of a training run is told by its launcher.
struct RankOptions {
  std::filesystem::path run_dir;  ///< holds config.yaml, complete and checked
  int rank = 0;
  int ranks = 1;
  int world_fd = -1;    ///< the launcher's comm::World; -1: a run of one rank by itself
  bool resume = false;  ///< go on from the newest checkpoint
};

/// Trains, evaluates and writes the model as this rank of the run: the body of `creel-worker train`. Rank 0
/// writes metrics.jsonl, checkpoints and the model, and shows progress.
///
/// Returns the process's exit code: 0, or 143 / 130 after SIGTERM / SIGINT, when a checkpoint has been
/// written. Throws Error; before that it tells the other ranks, so that none waits for this one.
int train_rank(const RankOptions& options);

}  // namespace creel::pipeline
