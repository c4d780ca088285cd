#pragma once

#include <creel/runtime/management/gauge.hpp>

#include <cstdint>
#include <functional>
#include <list>
#include <string>

namespace creel::detail {

/// What an executor tells of itself among the process's counters, `creel.executor.<name>.<what>`, while this
/// lives. `read` must not wait for a lock that is held while a user's function runs: that function may make
/// or destroy a Gauge, which waits for `read`.
class ExecutorGauges {
 public:
  explicit ExecutorGauges(const std::string& name) : prefix_("executor." + name + ".") {}
  void add(const char* what, std::function<std::int64_t()> read) {
    gauges_.emplace_back(prefix_ + what, std::move(read));
  }

 private:
  const std::string prefix_;
  std::list<Gauge> gauges_;
};

}  // namespace creel::detail
