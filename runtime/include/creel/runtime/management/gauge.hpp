#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace creel {

/// A number of the program that its Diagnostics publish once a second beside the runtime's own: the depth of
/// a queue, requests in flight. `jcmd PID PerfCounter.print` and jstat read it without asking the process.
///
///     creel::Gauge depth{"requests.queued", [&queue] { return static_cast<std::int64_t>(queue.size()); }};
///
/// It stands there as `creel.requests.queued`, from when it is made; once it is destroyed, as 0. Gauges of
/// one name are added up. `read` is called by another thread, at any time until the destructor has returned,
/// which waits for a call in progress: it must not wait for long, nor make or destroy gauges. One that throws
/// counts as 0. Costs nothing while nobody publishes.
class Gauge {
 public:
  /// `name`: letters, digits, dots and what else reads well; other characters become `_`.
  Gauge(std::string name, std::function<std::int64_t()> read);
  ~Gauge();
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;

 private:
  friend class GaugeRegistry;
  std::string name_;
  std::function<std::int64_t()> read_;
  std::size_t place_ = 0;  // in the registry; under its lock
};

}  // namespace creel
