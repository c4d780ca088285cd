#pragma once

#include <creel/comm/group.hpp>
#include <creel/models/model.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/optimizer.hpp>
#include <creel/pipeline/config/run_config.hpp>
#include <creel/pipeline/data/batch.hpp>
#include <creel/pipeline/train/checkpoint.hpp>

#include <cstdint>
#include <set>
#include <string>

namespace creel::pipeline {

/// What this rank has seen of bad samples: part of the state, since a resumed run counts on.
struct BadCount {
  std::set<std::string> keys;      ///< each bad sample once, however many epochs met it
  std::int64_t epoch = 0;          ///< of the last batch
  std::int64_t rows_of_epoch = 0;  ///< bad rows of that epoch so far

  void add(const Batch& batch);
};

/// Puts a run's state into a checkpoint and takes it out again. Both are collective: every rank calls them,
/// and every rank gets the whole checkpoint.
class RunState {
 public:
  struct Parts {
    const RunConfig& config;
    models::Model& model;
    models::Objective& objective;
    models::AdamW& optimizer;
    comm::Group& group;
    BadCount& bad;
  };
  explicit RunState(const Parts& parts) : parts_(parts) {}

  /// After `step` steps. Tensors share memory with the run: save before the next step.
  Checkpoint capture(std::int64_t step) const;

  /// Throws Error of code Config if the run differs in what makes its numbers (seed, ranks, batch, intra-op
  /// threads), of code Data if the file does not fit the model.
  void restore(const Checkpoint& checkpoint) const;

 private:
  Parts parts_;
};

/// All ranks' bad samples, each once. Collective.
std::set<std::string> gather_bad_keys(comm::Group& group, const BadCount& bad);

/// `mine` of every rank, in rank order; the lengths may differ. Collective.
std::vector<std::string> gather_text(comm::Group& group, const std::string& mine);

}  // namespace creel::pipeline
