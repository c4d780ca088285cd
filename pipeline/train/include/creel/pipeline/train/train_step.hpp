#pragma once

#include <creel/comm/group.hpp>
#include <creel/models/model.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/optimizer.hpp>
#include <creel/models/schedule.hpp>
#include <creel/pipeline/train/data_parallel.hpp>

#include <cstdint>

namespace creel::pipeline {

/// One optimizer step of a replicated model: forward, objective, backward with the gradients averaged over
/// the ranks, update. Refers to parts that must outlive it; used by one thread.
class TrainStep {
 public:
  struct Parts {
    models::Model& model;
    models::Objective& objective;
    models::AdamW& optimizer;
    models::CosineSchedule schedule;
    comm::Group& group;
  };
  struct Outcome {
    double loss;      ///< mean over the global batch, the same bits on every rank
    int stop_signal;  ///< SIGTERM or SIGINT if any rank was asked to stop; 0 otherwise. The same on every
                      ///< rank
  };

  explicit TrainStep(const Parts& parts);

  /// Runs step `step` (0, 1, …) on this rank's rows. `stop_signal` is what this rank was asked. All ranks
  /// must call it for the same steps. Throws Error, before the weights are touched, if the loss is not
  /// finite; CommError if a rank is lost.
  Outcome run(const nn::Inputs& inputs, std::int64_t step, int stop_signal);

 private:
  Outcome agree(double loss, int stop_signal);

  Parts parts_;
  models::Peers peers_;
  DataParallel data_parallel_;
};

}  // namespace creel::pipeline
