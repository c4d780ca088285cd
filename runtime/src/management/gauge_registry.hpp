#pragma once

#include <creel/runtime/management/gauge.hpp>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace creel {

/// All gauges that live.
class GaugeRegistry {
 public:
  static GaugeRegistry& instance() noexcept;
  void add(Gauge& gauge);
  void remove(const Gauge& gauge) noexcept;
  /// Their values by name, those of one name added up.
  std::map<std::string, std::int64_t> read() const;

 private:
  GaugeRegistry() = default;
  mutable std::mutex lock_;  // also held while gauges are read: see ~Gauge
  std::vector<Gauge*> gauges_;
};

}  // namespace creel
