#include "train_run.hpp"

#include <creel/comm/group.hpp>
#include <creel/comm/world.hpp>
#include <creel/models/execution.hpp>
#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/train/train_rank.hpp>
#include <creel/runtime/error.hpp>

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace creel::pipeline {
namespace {

/// Processors that this process may run on.
int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

RunConfig read_config(const RankOptions& options) {
  // Checked by the launcher, which filled in every default: transforms are checked again where they are
  // built.
  LoadOptions load;
  load.check_files = false;
  RunConfig config = load_config(options.run_dir / "config.yaml", load).config;
  config.parallel.ranks = options.ranks;
  if (config.train.threads == 0) config.train.threads = std::max(1, available_cores() / options.ranks);
  return config;
}

comm::Group join_group(comm::World* world, const RankOptions& options, const RunConfig& config) {
  if (world == nullptr) return comm::Group::alone();
  world->enter(options.rank);
  return comm::Group::join(*world, options.rank,
                           {.all_reduce = config.parallel.all_reduce,
                            .deadline = std::chrono::duration<double>(config.parallel.deadline)});
}

}  // namespace

int train_rank(const RankOptions& options) {
  std::optional<comm::World> world;
  if (options.world_fd >= 0) world.emplace(comm::World::attach(options.world_fd));
  try {
    RunConfig config = read_config(options);
    nn::set_intra_op_threads(static_cast<int>(config.train.threads));
    comm::Group group = join_group(world ? &*world : nullptr, options, config);
    TrainRun run(options, std::move(config), group, world ? &*world : nullptr);
    return run.run();
  } catch (const std::exception& error) {
    if (world) world->abort(options.rank, error.what());
    throw;
  }
}

}  // namespace creel::pipeline
