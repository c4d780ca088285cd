#pragma once

#include <creel/runtime/result.hpp>
#include <creel/scheduler/stage_stats.hpp>

#include <cstddef>
#include <functional>
#include <string>

namespace creel::scheduler {

/// What a graph says about one of its stages.
struct StageInfo {
  std::string name;
  const char* kind = "";  ///< "source", "map", "aggregate", "sink"
  std::size_t workers = 1;
};

/// Places where a program may look into a running graph. They are called on the workers' threads, several at
/// a time; the two kinds of failure differ: what a stage hook throws ends the whole run, an item's failure
/// costs that item.
struct Hooks {
  /// A stage's first worker is about to begin. Throwing ends the run.
  std::function<void(const StageInfo&)> stage_started = {};
  /// A stage's last worker has ended well. Throwing ends the run.
  std::function<void(const StageInfo&, const StageStats&)> stage_ended = {};
  /// A stage answered `item` with a Failure: it is left out and counted. Throwing ends the run, for instance
  /// when there are too many. Without this hook the drop is logged.
  std::function<void(const StageInfo&, const std::string& item, const Failure&)> item_dropped = {};
};

}  // namespace creel::scheduler
