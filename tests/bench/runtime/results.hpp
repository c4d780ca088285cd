#pragma once

#include "program.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel::bench {

/// Every measurement of a run, by metric and peer.
class Results {
 public:
  void add(const Line& line);
  /// The median of what a peer has for a metric.
  std::optional<double> median(std::string_view metric, std::string_view peer) const;
  /// The lines of the metrics that came since the last call, in the order in which they first came.
  std::vector<Line> take_new();

 private:
  struct Series {
    std::string unit;
    std::vector<double> values;
  };
  std::map<std::pair<std::string, std::string>, Series> series_;
  std::vector<std::pair<std::string, std::string>> order_;
  std::size_t taken_ = 0;
};

/// What the runtime is to reach, each as a ratio to a rival of the same run or as a figure of its own.
struct Goal {
  std::string_view metric;
  std::string_view peer;                 ///< ours
  std::vector<std::string_view> rivals;  ///< the best of those that ran; none: `bound` is the figure itself
  double bound;
  bool at_least = false;               ///< more is better
  std::string_view rival_metric = {};  ///< if it has another name there
};
const std::vector<Goal>& goals();

/// The goals with what was measured: metric, creel, best rival, ratio, goal, met or not. Each line begins
/// with
/// `#`, so that the others can be read by programs.
std::string goal_table(const Results& results);

}  // namespace creel::bench
