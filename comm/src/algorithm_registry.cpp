#include <creel/comm/algorithm_registry.hpp>

namespace creel::comm {

void register_algorithms(AlgorithmRegistry& registry);  // generated from the files in src/algorithms/

const AlgorithmRegistry& AlgorithmRegistry::instance() {
  static const AlgorithmRegistry registry = [] {
    AlgorithmRegistry all;
    register_algorithms(all);
    return all;
  }();
  return registry;
}

const Algorithm* AlgorithmRegistry::find(Collective collective, std::string_view name) const noexcept {
  for (const Algorithm& algorithm : algorithms_) {
    if (algorithm.collective == collective && algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

std::string AlgorithmRegistry::names(Collective collective) const {
  std::string text;
  for (const Algorithm& algorithm : algorithms_) {
    if (algorithm.collective != collective) continue;
    if (!text.empty()) text += ", ";
    text += algorithm.name;
  }
  return text;
}

}  // namespace creel::comm
