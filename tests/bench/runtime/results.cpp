#include "results.hpp"

#include <algorithm>
#include <cstdio>

namespace creel::bench {
namespace {

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text + " ";
}

struct Best {
  std::string_view peer;
  double value = 0;
};

std::optional<Best> best_rival(const Goal& goal, const Results& results) {
  std::optional<Best> best;
  for (const std::string_view peer : goal.rivals) {
    const auto value = results.median(goal.rival_metric.empty() ? goal.metric : goal.rival_metric, peer);
    if (!value) continue;
    if (!best || (goal.at_least ? *value > best->value : *value < best->value)) best = {peer, *value};
  }
  return best;
}

}  // namespace

void Results::add(const Line& line) {
  const auto [at, is_new] = series_.try_emplace({line.metric, line.peer});
  if (is_new) {
    at->second.unit = line.unit;
    order_.push_back(at->first);
  }
  at->second.values.push_back(line.value);
}

std::optional<double> Results::median(std::string_view metric, std::string_view peer) const {
  const auto at = series_.find({std::string(metric), std::string(peer)});
  if (at == series_.end()) return std::nullopt;
  std::vector<double> values = at->second.values;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<Line> Results::take_new() {
  std::vector<Line> lines;
  for (; taken_ < order_.size(); ++taken_) {
    const auto& [metric, peer] = order_[taken_];
    lines.push_back({metric, peer, *median(metric, peer), series_.at(order_[taken_]).unit});
  }
  return lines;
}

const std::vector<Goal>& goals() {
  static const std::vector<Goal> all{
      {"fib32.nocut.p1", "creel", {"java17-fjp", "java25-fjp", "libfork-lazy"}, 0.5},
      {"fib32.nocut.p1", "creel", {"onetbb"}, 0.1},
      {"fib32.nocut.p2", "creel", {"java17-fjp", "java25-fjp", "libfork-lazy"}, 0.5},
      {"fib32.nocut.p2", "creel", {"onetbb"}, 0.1},
      {"submit.roundtrip", "creel", {"java25-threadpool"}, 0.5},
      {"submit.roundtrip", "creel-busy", {"java25-threadpool"}, 0.1},
      {"submit.roundtrip", "creel-virtual", {"go-workerpool", "go-goroutine"}, 1.0},
      {"submit.idle_cpu", "creel", {}, 1.0},
      {"submit.batch1M", "creel", {"java25-threadpool"}, 0.3},
      {"submit.batch1M", "creel", {"java17-fjp"}, 0.75},
      {"vt.create_join.batch1000", "creel", {"java25"}, 0.25},
      {"vt.create_join.batch1000", "creel", {"go"}, 0.5},
      {"vt.yield", "creel-p1", {"boost-context-raw"}, 2},
      {"vt.pingpong", "creel-p1", {"java25-park-p1"}, 0.15},
      {"vt.pingpong", "creel-p1", {"go-chan-p1"}, 0.3},
      {"vt.pingpong", "creel-p2", {"java25-park-p2"}, 0.15},
      {"vt.pingpong", "creel-p2", {"go-chan-p2"}, 0.3},
      {"vt.parked100k", "creel", {}, 1.1 * 4096},
      {"lock.contended.t2",
       "creel-monitor",
       {"java25-synchronized", "java25-reentrantlock", "go-mutex"},
       1,
       true},
      {"lock.contended.t2", "creel-monitor", {"std-mutex"}, 2, true},
      {"lock.contended.t8",
       "creel-monitor",
       {"java25-synchronized", "java25-reentrantlock", "go-mutex"},
       1,
       true},
      {"lock.contended.t8", "creel-monitor", {"std-mutex"}, 2, true},
      {"map.get.t2", "creel", {"std-mutex"}, 0.5},
      {"map.update50.t2", "creel", {"std-mutex"}, 1.0},
      {"map.churn50.t2", "creel", {"std-mutex"}, 1.0},
      {"dump.1000.stopped", "creel", {"java25-safepoint"}, 1.0 / 50},
      {"dump.1000.stopped", "creel", {"java17-safepoint"}, 1.0 / 10},
      {"vt.dump100k", "creel-stopped", {"go-runtime.Stack"}, 1.0 / 10},
      {"dump.1000.attach", "creel-threaddump", {"java17-threaddump"}, 0.25},
      {"deadlock.1000",
       "creel",
       {"java17-findDeadlockedThreads", "java25-findDeadlockedThreads"},
       1.0,
       false,
       "dump.1000.inprocess"},
      {"deadlock.foreign", "creel", {}, 10},
  };
  return all;
}

std::string goal_table(const Results& results) {
  std::string table = "# " + padded("metric", 25) + padded("creel", 24) + padded("best rival", 38) +
                      padded("ratio", 8) + padded("goal", 9) + "met\n";
  for (const Goal& goal : goals()) {
    const auto ours = results.median(goal.metric, goal.peer);
    if (!ours) continue;
    const auto rival = best_rival(goal, results);
    const bool is_ratio = !goal.rivals.empty();
    const double measured = is_ratio && rival ? *ours / rival->value : *ours;
    std::string against = "-";
    if (is_ratio) {
      against = rival ? std::string(rival->peer) + " " + formatted("%.6g", rival->value)
                      : std::string(goal.rivals.front()) + " missing";
    }
    const bool known = !is_ratio || rival;
    const bool met = known && (goal.at_least ? measured >= goal.bound : measured <= goal.bound);
    table += "# " + padded(std::string(goal.metric), 25) +
             padded(std::string(goal.peer) + " " + formatted("%.6g", *ours), 24) + padded(against, 38) +
             padded(is_ratio && rival ? formatted("%.3g", measured) : "-", 8) +
             padded((goal.at_least ? ">= " : "<= ") + formatted("%.4g", goal.bound), 9) +
             (!known ? "?"
              : met  ? "yes"
                     : "no") +
             "\n";
  }
  return table;
}

}  // namespace creel::bench
