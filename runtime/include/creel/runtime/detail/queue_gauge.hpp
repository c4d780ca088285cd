#pragma once

#include <creel/runtime/management/gauge.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace creel::detail {

/// The size of a queue that has a name among the process's counters, `creel.queue.<name>.size`: the last
/// member of the queue, so that what it reads is there as long as it is.
class QueueGauge {
 public:
  template <typename Queue>
  QueueGauge(const std::string& name, const Queue& queue) {
    if (name.empty()) return;
    gauge_.emplace("queue." + name + ".size", [&queue] { return static_cast<std::int64_t>(queue.size()); });
  }

 private:
  std::optional<Gauge> gauge_;
};

}  // namespace creel::detail
