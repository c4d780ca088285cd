#pragma once

#include <creel/models/model_spec.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace creel::pipeline {

struct SourceConfig {
  std::string format;  ///< tar_shards
  std::string path;    ///< a path or a pattern with {000..007}; relative to the config file's folder
};

struct DataConfig {
  SourceConfig train;
  SourceConfig eval;          ///< empty format: no evaluation
  std::int64_t workers = 2;   ///< transform threads of each rank
  std::int64_t batch = 64;    ///< rows of each rank; rank r of R takes rows [r B, (r+1) B) of a global batch
  std::int64_t prefetch = 4;  ///< batches ready ahead of the step
  double max_bad = 0.01;      ///< share of bad samples of an epoch above which the run stops (exit 4)
};

/// One call of a transform: `resize(32)`, `normalize(0.5, 0.5)`. Arguments as written; the transform types
/// them.
struct TransformCall {
  std::string name;
  std::vector<std::string> arguments;
  int line = 0;  ///< place in the config file, for errors
  int column = 0;
};

struct OptimizerConfig {
  std::string name = "adamw";
  double lr = 5e-4;
  double weight_decay = 0.2;
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-6;
};

struct ScheduleConfig {
  std::string name = "cosine";
  std::int64_t warmup = 0;  ///< steps
};

struct TrainConfig {
  std::int64_t epochs = 1;
  std::int64_t seed = 0;
  std::int64_t steps = 0;    ///< stop after this many steps; 0 means all epochs
  std::int64_t threads = 0;  ///< LibTorch's intra-op threads of a rank; 0 means cores / ranks, at least 1
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
};

struct ParallelConfig {
  std::int64_t ranks = 1;
  std::string backend = "auto";     ///< auto | shared_memory
  std::string all_reduce = "auto";  ///< auto | ring
  double deadline = 60;             ///< seconds after which a collective that no peer joins fails
};

struct CheckpointConfig {
  std::int64_t every = 100;  ///< steps
  std::int64_t keep = 2;
};

struct EvaluateConfig {
  std::vector<std::string> classes;  ///< one name per label, in label order
  std::vector<std::string> prompts;  ///< templates with {} for the class name
};

/// Everything a run needs, checked and with every default filled in.
struct RunConfig {
  std::string name;  ///< names the run folder and the served model
  DataConfig data;
  std::vector<TransformCall> train_transforms;
  std::vector<TransformCall> eval_transforms;
  models::ModelSpec model;
  std::string objective = "softmax_contrastive";
  TrainConfig train;
  ParallelConfig parallel;
  CheckpointConfig checkpoint;
  EvaluateConfig evaluate;
};

}  // namespace creel::pipeline
