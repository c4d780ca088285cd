#pragma once

#include "metrics_log.hpp"
#include "progress.hpp"
#include "run_state.hpp"

#include <creel/comm/world.hpp>
#include <creel/models/tokenizer.hpp>
#include <creel/pipeline/data/loader.hpp>
#include <creel/pipeline/train/train_rank.hpp>
#include <creel/pipeline/train/train_step.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

namespace creel::pipeline {

/// One rank's training run, from its parts to its result.
class TrainRun {
 public:
  TrainRun(const RankOptions& options, RunConfig config, comm::Group& group, comm::World* world);

  /// The process's exit code.
  int run();

 private:
  using Clock = std::chrono::steady_clock;

  void find_start();
  int train();
  bool on_batch(Batch& batch);
  void save_checkpoint(std::int64_t step);
  void write_result();
  int asked_to_stop() const;
  bool leads() const { return group_.rank() == 0; }

  RankOptions options_;
  RunConfig config_;
  comm::Group& group_;
  comm::World* world_;
  std::shared_ptr<const models::Tokenizer> tokenizer_;
  std::unique_ptr<models::Model> model_;
  std::unique_ptr<models::Objective> objective_;
  models::AdamW optimizer_;
  BadCount bad_;
  RunState state_;
  CheckpointStore checkpoints_;
  std::optional<MetricsLog> metrics_;
  std::optional<TrainStep> step_;
  std::optional<Progress> progress_;

  std::int64_t steps_per_epoch_ = 0;
  std::int64_t total_steps_ = 0;
  std::int64_t done_ = 0;   // steps behind us, those before a resume included
  std::int64_t first_ = 0;  // steps behind us when this process began
  bool complete_ = false;   // the run had already written its result
  int stop_signal_ = 0;
  Clock::time_point started_ = Clock::now();
  Clock::time_point step_ended_;
  double training_seconds_ = 0;
};

}  // namespace creel::pipeline
