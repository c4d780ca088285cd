#pragma once

#include <creel/comm/algorithm.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace creel::comm {

/// The algorithms that exist, in the order of their file names.
class AlgorithmRegistry {
 public:
  /// Every algorithm of src/algorithms/.
  static const AlgorithmRegistry& instance();

  void add(const Algorithm& algorithm) { algorithms_.push_back(algorithm); }
  std::span<const Algorithm> all() const noexcept { return algorithms_; }
  /// nullptr if there is none of that name.
  const Algorithm* find(Collective collective, std::string_view name) const noexcept;
  /// "direct, ring": for messages.
  std::string names(Collective collective) const;

 private:
  std::vector<Algorithm> algorithms_;
};

}  // namespace creel::comm
