#include "bench.hpp"
#include "rivals/map_load.hpp"

#include <creel/runtime/concurrent_hash_map.hpp>

namespace creel::bench {
namespace {

struct Numbers {
  ConcurrentHashMap<std::uint64_t, std::uint64_t> map;
  std::uint64_t get(std::uint64_t key) const { return map.get(key).value_or(0); }
  void put(std::uint64_t key, std::uint64_t value) { map.put(key, value); }
  void remove(std::uint64_t key) { map.remove(key); }
};

}  // namespace

void maps(const Report& report) {
  for (const MapLoad& load : map_loads()) {
    if (!report.wants(load.metric)) continue;
    Numbers numbers;
    report.line(load.metric, "creel", map_call_ns(numbers, load), "ns");
  }
}

}  // namespace creel::bench
