#include "deadlock_search.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace creel::detail {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

// Which nodes can never go on: all but those that can by themselves and whoever waits for one that can.
std::vector<bool> find_stuck(const WaitGraph& targets) {
  std::vector<std::vector<std::size_t>> waiters(targets.size());
  std::vector<std::size_t> free;
  std::vector<bool> stuck(targets.size(), true);
  for (std::size_t node = 0; node < targets.size(); ++node) {
    for (const std::size_t target : targets[node]) waiters[target].push_back(node);
    if (!targets[node].empty()) continue;
    stuck[node] = false;
    free.push_back(node);
  }
  while (!free.empty()) {
    const std::size_t node = free.back();
    free.pop_back();
    for (const std::size_t waiter : waiters[node]) {
      if (!stuck[waiter]) continue;
      stuck[waiter] = false;
      free.push_back(waiter);
    }
  }
  return stuck;
}

// Tarjan's strongly connected components (SIAM J. Comput. 1972), without recursion: a chain of waits may be
// as long as there are threads.
class Components {
 public:
  Components(const WaitGraph& targets, const std::vector<bool>& stuck)
      : targets_(targets),
        index_(targets.size(), kNone),
        low_(targets.size(), 0),
        component_(targets.size(), kNone) {
    for (std::size_t node = 0; node < targets.size(); ++node) {
      if (stuck[node] && index_[node] == kNone) visit(node);
    }
  }
  const std::vector<std::size_t>& of() const noexcept { return component_; }
  std::size_t count() const noexcept { return count_; }

 private:
  struct Step {
    std::size_t node;
    std::size_t next = 0;  // of its targets
  };

  void enter(std::size_t node) {
    index_[node] = low_[node] = entered_++;
    open_.push_back(node);
    steps_.push_back({node});
  }

  void visit(std::size_t start) {
    enter(start);
    while (!steps_.empty()) {
      Step& step = steps_.back();
      const std::size_t node = step.node;
      if (step.next < targets_[node].size()) {
        const std::size_t target = targets_[node][step.next++];
        if (index_[target] == kNone) {
          enter(target);
        } else if (component_[target] == kNone) {
          low_[node] = std::min(low_[node], index_[target]);
        }
        continue;
      }
      steps_.pop_back();
      if (!steps_.empty()) low_[steps_.back().node] = std::min(low_[steps_.back().node], low_[node]);
      if (low_[node] == index_[node]) close(node);
    }
  }

  void close(std::size_t root) {
    std::size_t node = kNone;
    do {
      node = open_.back();
      open_.pop_back();
      component_[node] = count_;
    } while (node != root);
    ++count_;
  }

  const WaitGraph& targets_;
  std::vector<std::size_t> index_, low_, component_, open_;
  std::vector<Step> steps_;
  std::size_t entered_ = 0, count_ = 0;
};

// From `first` along the waits, as far as each leads to one that has not been there.
std::vector<std::size_t> in_order(const WaitGraph& targets, std::size_t first) {
  std::vector<std::size_t> order{first};
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const std::size_t target : targets[order[i]]) {
      if (std::find(order.begin(), order.end(), target) == order.end()) order.push_back(target);
    }
  }
  return order;
}

}  // namespace

std::vector<std::vector<std::size_t>> find_knots(const WaitGraph& targets) {
  const std::vector<bool> stuck = find_stuck(targets);
  std::vector<std::vector<std::size_t>> knots;
  if (std::find(stuck.begin(), stuck.end(), true) == stuck.end()) return knots;
  const Components components(targets, stuck);
  std::vector<bool> leads_out(components.count(), false);
  std::vector<bool> done(components.count(), false);
  for (std::size_t node = 0; node < targets.size(); ++node) {
    if (!stuck[node]) continue;
    for (const std::size_t target : targets[node]) {
      if (components.of()[target] != components.of()[node]) leads_out[components.of()[node]] = true;
    }
  }
  for (std::size_t node = 0; node < targets.size(); ++node) {
    if (!stuck[node] || leads_out[components.of()[node]] || done[components.of()[node]]) continue;
    done[components.of()[node]] = true;
    knots.push_back(in_order(targets, node));
  }
  return knots;
}

}  // namespace creel::detail
